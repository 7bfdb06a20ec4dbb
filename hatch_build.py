"""The build hook that compiles the CPU kernels into the wheel; without a compiler the wheel is one of Python alone."""

import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilderConfig
from packaging.tags import platform_tags

FOLDER = "millpond_kernels/native"
SKIP = "MILLPOND_NO_NATIVE"
COMPILERS = ("cc", "gcc", "clang")

# Generations of x86-64 and how many floats their vectors hold. There is a library for each: one wheel serves them all.
LEVELS = {"x86-64-v3": 8, "x86-64-v4": 16}

# The instruction of AVX-VNNI, which assemblers before 2021 do not know.
AVX_VNNI = 'void probe(void) { __asm__("%{vex%} vpdpbusd %%ymm0, %%ymm1, %%ymm2" : : : "ymm2"); }'

# NaN, infinity and denormals stay what they are, in the libraries and in the program that loads them, and sums keep
# their order, which the rounding in vector.h rests on: hence no -ffast-math and no -fassociative-math.
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-shared",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-pthread",
)


class CompiledKernels(BuildHookInterface[WheelBuilderConfig]):
    """Puts the compiled kernels into a wheel, and beside their source for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernels, or say why not and go on."""
        folder = Path(self.root, "kernels", FOLDER)
        self.scratch = tempfile.TemporaryDirectory(prefix="millpond-build-")
        try:
            libraries = compile_kernels(sorted(folder.glob("*.c")), Path(self.scratch.name))
        except CannotCompileError as error:
            self.app.display_warning(f"millpond: {error}; built without compiled kernels, torch's serve instead")
            libraries = []
        if version == "editable":
            replace(libraries, folder)
        elif libraries:
            build_data["force_include"] |= {str(library): f"{FOLDER}/{library.name}" for library in libraries}
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled, now that it is packed."""
        self.scratch.cleanup()


class CannotCompileError(Exception):
    """The kernels could not be compiled here; the message says why."""


def compile_kernels(sources: list[Path], folder: Path) -> list[Path]:
    """Compile a shared library for each level into a folder; they need libc and libm alone."""
    if os.environ.get(SKIP, "0") not in ("", "0"):
        raise CannotCompileError(f"{SKIP} is set")
    if platform.machine() not in ("x86_64", "AMD64"):
        raise CannotCompileError(f"the kernels are written for x86-64, and this is {platform.machine()}")
    compiler = shlex.split(os.environ.get("CC", "")) or [name for name in COMPILERS if shutil.which(name)][:1]
    if not compiler:
        raise CannotCompileError(f"there is no C compiler (looked for {', '.join(COMPILERS)}; CC names another)")
    libraries = {level: folder / f"kernels-{level}.so" for level in LEVELS}
    extra = ("-DHAVE_AVX_VNNI",) if can_compile(compiler, AVX_VNNI, folder) else ()
    for level, library in libraries.items():
        options = (*FLAGS, *extra, f"-march={level}", f"-DWIDTH={LEVELS[level]}")
        run([*compiler, *options, "-o", str(library), *map(str, sources), "-lm"])
    return [*libraries.values()]


def run(command: list[str]) -> None:
    """Run the compiler; what it has to say goes where the build's own output goes."""
    try:
        subprocess.run(command, check=True)  # noqa: S603  the compiler that the owner of this machine chose
    except OSError as error:
        raise CannotCompileError(f"the C compiler {command[0]} does not run ({error.strerror})") from error
    except subprocess.CalledProcessError as error:
        raise CannotCompileError(f"{command[0]} could not compile the kernels, see above") from error


def can_compile(compiler: list[str], source: str, folder: Path) -> bool:
    """True if the compiler and its assembler know what a few lines of C ask for."""
    probe = folder / "probe.c"
    probe.write_text(source + "\n", encoding="utf-8")
    command = [*compiler, "-mavx2", "-c", str(probe), "-o", str(probe.with_suffix(".o"))]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  the compiler that the owner of this machine chose
    except OSError:
        return False  # `run` reports a compiler that does not start


def replace(libraries: list[Path], folder: Path) -> None:
    """Replace the libraries in a folder: removed, not written over, for the sake of programs that have them loaded."""
    for library in folder.glob("*.so"):
        library.unlink()
    for library in libraries:
        shutil.copy(library, folder)


def platform_tag() -> str:
    """The tag of this platform. Which older Linux the wheel runs on besides is for auditwheel to find out."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
