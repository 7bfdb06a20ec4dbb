"""A virtual environment for each peer, made once from the pins in peers/ and kept."""

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
COMPLETE = ".complete"


def default_folder() -> Path:
    """Where environments and exported models are kept if nobody says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "millpond" / "benchmarks"


def environment_folder(folder: Path, name: str) -> Path:
    """The folder of an environment: other pins, or another Python, make another one."""
    hashed_inputs = lock_file(name).read_bytes() + platform.python_version().encode()
    return folder / "environments" / f"{name}-{hashlib.sha256(hashed_inputs).hexdigest()[:8]}"


def python_of(folder: Path, name: str) -> Path:
    """The Python of a peer's environment, which is made if it is not there.

    Args:
        folder: Where environments are kept.
        name: The environment: a file in peers/, without its ending.

    Raises:
        SystemExit: If it cannot be made.
    """
    home = environment_folder(folder, name)
    python = home / "bin" / "python"
    if not (home / COMPLETE).exists():
        _make(home, python, name)
    return python


def _make(home: Path, python: Path, name: str) -> None:
    pins = lock_file(name)
    torch = re.search(r"^torch==\S+", pins.read_text(encoding="utf-8"), re.MULTILINE)
    if torch is None:
        raise SystemExit(f"{pins} does not pin torch")
    console.print(f"Making the environment {home}; this is done once.")
    start = time.perf_counter()
    shutil.rmtree(home, ignore_errors=True)  # what an interrupted run left
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(sys.executable, "-m", "venv", str(home))
    # torch brings what its build needs, a CUDA build its libraries; of all else the pins are all there is.
    _run(*pip, "--constraint", str(pins), torch[0])
    _run(*pip, "--no-deps", "--requirement", str(pins))
    (home / COMPLETE).touch()
    console.print(f"Made it in {time.perf_counter() - start:.0f} s.")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
