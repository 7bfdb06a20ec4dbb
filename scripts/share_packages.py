"""Let a virtual environment also import the packages of this one, after its own: `share_packages.py PYTHON`.

Editable installations are shared too, because the line that is written reads the .pth files of this environment.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

FILE_NAME = "shared_packages.pth"


def share_packages(python: str) -> Path:
    """Write the .pth file into the environment of another Python, and return its path.

    Args:
        python: The path of the environment's Python.
    """
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    folder = done.stdout.strip()
    file = Path(folder, FILE_NAME)
    file.write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    share_packages(sys.argv[1])
