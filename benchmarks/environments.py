"""Create a virtual environment for each peer from the pins in peers/, and keep it."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from contestants import lock_file
from rich.console import Console

console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
COMPLETE_MARKER = ".complete"


def default_folder() -> Path:
    """Return the default folder of environments and exported models."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "millpond" / "benchmarks"


def environment_folder(folder: Path, name: str) -> Path:
    """Return the folder of an environment; its name depends on the pins and the version of Python."""
    hashed_inputs = lock_file(name).read_bytes() + platform.python_version().encode()
    return folder / "environments" / f"{name}-{hashlib.sha256(hashed_inputs).hexdigest()[:8]}"


def python_of(folder: Path, name: str) -> Path:
    """Return the Python of a peer's environment, which is created if it does not exist.

    Args:
        folder: The folder of environments.
        name: The environment: the name of a file in peers/ without suffix.

    Raises:
        SystemExit: If the environment cannot be created.
    """
    home = environment_folder(folder, name)
    python = home / "bin" / "python"
    if not (home / COMPLETE_MARKER).exists():
        _create(home, python, name)
    return python


def _create(home: Path, python: Path, name: str) -> None:
    pins = lock_file(name)
    torch = re.search(r"^torch==\S+", pins.read_text(encoding="utf-8"), re.MULTILINE)
    if torch is None:
        raise SystemExit(f"{pins} does not pin torch")
    console.print(f"Creating the environment {home}. This is done once.")
    start = time.perf_counter()
    shutil.rmtree(home, ignore_errors=True)  # left by an interrupted run
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(sys.executable, "-m", "venv", str(home))
    # torch is installed with its dependencies, such as the libraries of a CUDA build; all others are pinned.
    _run(*pip, "--constraint", str(pins), torch[0])
    _run(*pip, "--no-deps", "--requirement", str(pins))
    (home / COMPLETE_MARKER).touch()
    console.print(f"Created in {time.perf_counter() - start:.0f} s.")


def _run(*command: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed arguments
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stdout[-2000:]}{process.stderr[-4000:]}")
