"""New virtual environments for tests of wheels; they share the other packages of the running interpreter."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[2]
IGNORED_FILES = shutil.ignore_patterns("__pycache__", "*.py[cod]")
STEP_TIMEOUT_S = 300


class Environment:
    """A new virtual environment and a working folder."""

    def __init__(self, root):
        self.folder = root / "work"
        self.folder.mkdir()
        self.root = root / "venv"
        venv.create(self.root, with_pip=False, symlinks=os.name != "nt")
        self.python = self.root / ("Scripts" if os.name == "nt" else "bin") / "python"
        # Sources on PYTHONPATH or from an editable install must not be visible in the environment.
        self.variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        (site,) = self.root.rglob("site-packages")
        shared = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        site.joinpath("shared.pth").write_text("\n".join(shared), encoding="utf-8")

    def pip(self, *arguments):
        run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            "--disable-pip-version-check",
            *arguments,
            environment=self,
        )

    def install(self, wheel):
        # The packages of the running interpreter may include Millpond, which must not be used.
        self.pip("install", "--no-deps", "--no-index", "--ignore-installed", wheel)

    def run_json(self, code):
        return json.loads(run(self.python, "-c", code, environment=self))

    def run_tests(self, folder):
        """Run the tests of a package that is installed, and return pytest's report."""
        return run(self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder, environment=self)


def environment_with_millpond(tmp_path_factory):
    """Return a new environment with a wheel of Millpond, which is built once per run."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    (wheel,) = created_once(tmp_path_factory, "millpond-wheel", build_millpond).glob("*.whl")
    environment.install(wheel)
    return environment


def build_millpond(folder):
    """Build a wheel of Millpond in a folder."""
    sources = copy_sources(folder / "sources")
    build_wheel(sources, folder)
    shutil.rmtree(sources)


def run(*command, environment, **variables):
    done = subprocess.run(
        list(map(str, command)),
        cwd=environment.folder,
        env={**environment.variables, **variables},
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def build_wheel(source, folder):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def copy_sources(folder):
    """Copy the sources of Millpond's wheel; building in the repository would leave files there."""
    folder.mkdir()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["path"]
    folder.joinpath(hook).parent.mkdir()
    for file in ["pyproject.toml", "hatch_build.py", "README.md", hook, *project["project"]["license-files"]]:
        shutil.copy(REPOSITORY / file, folder / file)
    for root in project["tool"]["hatch"]["build"]["dev-mode-dirs"]:
        shutil.copytree(REPOSITORY / root, folder / root, ignore=IGNORED_FILES)
    return folder


def created_once(tmp_path_factory, name, create):
    """Return a folder of the run, which ``create(folder)`` has filled in this process or another one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            draft = folder.with_name(f"{name}-draft")
            draft.mkdir()  # left behind by a failed attempt, so that the next one fails at once
            create(draft)
            draft.rename(folder)
    return folder
