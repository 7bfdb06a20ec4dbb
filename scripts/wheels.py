"""Build and check the files of a release: `make wheels`, or python scripts/wheels.py.

The output folder then contains the source distribution and the wheels that are built from it. Every file is built
twice, and both must have the same bytes. Each wheel that this machine supports is installed in a new environment.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename
from share_packages import share_packages

REPOSITORY = Path(__file__).resolve().parents[1]
SMOKE = REPOSITORY / "scripts" / "wheel_smoke.py"
VECTOR_TOLERANCE = 1e-5  # maximum difference of a number: compiled kernels and torch kernels, normalized vectors


@dataclass(frozen=True)
class Target:
    """A wheel: its platform tag, and the target for which zig compiles its kernels; None without zig.

    The platform "any" is a wheel without compiled kernels, "native" one for this machine, with its own C compiler.
    """

    platform: str
    zig: str | None = None

    def variables(self) -> dict[str, str]:
        """Return the environment variables of its build (see hatch_build.py)."""
        if self.zig is None:
            return {"MILLPOND_NO_NATIVE": str(int(self.platform == "any")), "MILLPOND_WHEEL_PLATFORM": ""}
        compiler = f"{sys.executable} -m ziglang cc -target {self.zig} -s"
        return {"MILLPOND_NO_NATIVE": "0", "MILLPOND_WHEEL_PLATFORM": self.platform, "CC": compiler}


# Other platforms install the wheel without kernels. torch has no wheels for macOS on x86-64 since version 2.3.
TARGETS = (
    Target("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17"),
    Target("manylinux_2_17_aarch64", "aarch64-linux-gnu.2.17"),
    Target("macosx_11_0_arm64", "aarch64-macos.11.0"),
    Target("win_amd64", "x86_64-windows-gnu"),
    Target("any"),
)


def run(*command: str | Path, **variables: str) -> str:
    """Run a program in the repository and return its output.

    Raises:
        SystemExit: It failed; the message contains its output.
    """
    environment = {**os.environ, **variables}
    done = subprocess.run(  # noqa: S603  this interpreter, and programs of this environment
        list(map(str, command)), cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(
            f"error: {' '.join(map(str, command))} exited with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def source_date() -> str:
    """Return SOURCE_DATE_EPOCH; by default the time of the last commit, in seconds since 1970."""
    return os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct").strip()


def build_files(folder: Path, targets: Iterable[Target]) -> list[Path]:
    """Build the source distribution, and from it the wheels; return the files."""
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    variables = {"SOURCE_DATE_EPOCH": source_date()}
    run(*build, "--sdist", REPOSITORY, **variables)
    (archive,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory(prefix="millpond-sdist-") as scratch:
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        for target in targets:
            run(
                *build,
                "--wheel",
                Path(scratch, archive.name.removesuffix(".tar.gz")),
                **variables,
                **target.variables(),
            )
    return sorted(folder.iterdir())


def differing_files(first: Iterable[Path], second: Iterable[Path]) -> list[str]:
    """Return the names of files whose bytes differ, or that are missing in one of two builds."""
    digests = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in it} for it in (first, second)]
    return sorted({name for name, _ in digests[0].items() ^ digests[1].items()})


def required_glibc(wheel: Path) -> tuple[int, int]:
    """Return the version of glibc that the compiled kernels of a wheel require, according to auditwheel.

    Raises:
        SystemExit: auditwheel names no manylinux tag.
    """
    output = run(sys.executable, "-m", "auditwheel", "show", wheel)
    match = re.search(r'platform\s+tag:\s+"manylinux_(\d+)_(\d+)_\w+"', output)
    if match is None:
        raise SystemExit(f"error: {wheel.name} is not a manylinux wheel\n{output}")
    return int(match[1]), int(match[2])


def check_platform(wheel: Path) -> str:
    """Check that a wheel with a manylinux tag requires no newer glibc than it states; return the result as a line."""
    tag = re.search(r"manylinux_(\d+)_(\d+)", wheel.name)
    if tag is None:
        return "no manylinux tag to check"
    stated, required = (int(tag[1]), int(tag[2])), required_glibc(wheel)
    if required > stated:
        raise SystemExit(f"error: {wheel.name} requires glibc {required[0]}.{required[1]}, which is newer than its tag")
    return f"auditwheel: requires glibc {required[0]}.{required[1]}"


def is_supported(wheel: Path) -> bool:
    """Return True if this interpreter can install a wheel."""
    _, _, _, tags = parse_wheel_filename(wheel.name)
    return not tags.isdisjoint(sys_tags())


def install_and_use(wheel: Path) -> dict[str, Any]:
    """Install a wheel in a new environment, which shares the other packages of this one; return its smoke test.

    Raises:
        SystemExit: The package of the environment is not used, or compiled kernels compute other vectors than torch.
    """
    with tempfile.TemporaryDirectory(prefix="millpond-wheel-") as scratch:
        root = Path(scratch).resolve()
        venv.create(root, with_pip=False, symlinks=os.name != "nt")
        python = root / ("Scripts" if os.name == "nt" else "bin") / "python"
        share_packages(str(python))
        options = ("--disable-pip-version-check", "install", "--no-deps", "--no-index", "--ignore-installed")
        run(sys.executable, "-m", "pip", "--python", python, *options, wheel)
        reports = [
            json.loads(run(python, "-P", SMOKE, PYTHONPATH="", MILLPOND_NO_NATIVE=value)) for value in ("0", "1")
        ]
        for report in reports:
            if not Path(report["package"]).is_relative_to(root):
                raise SystemExit(f"error: {wheel.name} is installed, but {report['package']} is used")
    used, reference = reports
    if not np.allclose(used["vectors"], reference["vectors"], rtol=0, atol=VECTOR_TOLERANCE):
        raise SystemExit(f"error: {wheel.name} computes other vectors than torch: {used['vectors']}")
    return dict(used)


def describe(report: dict[str, Any]) -> str:
    """Return the kernels that an installed wheel selects, and the reason if none of them is compiled."""
    compiled = [name for name in report["kernels"].values() if name.endswith("native")]
    if report["compiled"] is True:
        return f"embeds; {len(compiled)} of {len(report['kernels'])} ops use compiled kernels: {', '.join(compiled)}"
    return f"embeds with torch kernels: compiled code {report['compiled']}"


def check(files: Iterable[Path]) -> None:
    """Check the metadata and the platforms of all files, use each wheel that can run here, and print the results."""
    files = list(files)
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    for path in files:
        print(f"{path.name}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
        if path.suffix == ".whl":
            print(f"  {check_platform(path)}")
            print(f"  {describe(install_and_use(path)) if is_supported(path) else 'cannot run on this machine'}")


def main() -> None:
    """Build all files twice, compare them, and check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist", help="an empty or new folder")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise SystemExit(f"error: {output} is not empty\nhint: remove the files of an earlier build")
    files = build_files(output, TARGETS)
    with tempfile.TemporaryDirectory(prefix="millpond-second-build-") as second:
        different = differing_files(files, build_files(Path(second), TARGETS))
    if different:
        raise SystemExit(f"error: a second build has other bytes: {', '.join(different)}")
    print(f"Built twice with equal bytes, SOURCE_DATE_EPOCH={source_date()}")
    check(files)
    if "urls" not in tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]:
        print("warning: pyproject.toml has no [project.urls]; the long description contains no links to the repository")


if __name__ == "__main__":
    main()
