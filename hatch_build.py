"""Build hook that compiles the CPU kernels into the wheel; without a C compiler, the wheel is pure Python."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilderConfig
from packaging.tags import platform_tags

FOLDER = "millpond_kernels/native"
SKIP = "MILLPOND_NO_NATIVE"
PLATFORM = "MILLPOND_WHEEL_PLATFORM"  # the platform tag of a wheel for another platform, for which CC compiles
COMPILERS = ("cc", "gcc", "clang")

# Architecture -> its levels, and the number of floats in their vectors. A wheel contains one library for each.
LEVELS = {"x86_64": {"x86-64-v3": 8, "x86-64-v4": 16}, "aarch64": {"aarch64": 4}}
# The end of a platform tag or name of a machine -> its architecture. Windows and macOS have their own names.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

# Architecture -> a macro, an instruction that assemblers before 2021 may not support, and compiler options for it.
OPTIONAL_INSTRUCTIONS = {
    "x86_64": ("HAVE_AVX_VNNI", '__asm__("%{vex%} vpdpbusd %%ymm0, %%ymm1, %%ymm2" : : : "ymm2");', "-mavx2"),
    "aarch64": ("HAVE_I8MM", '__asm__(".arch armv8.2-a+dotprod+i8mm\\n smmla v0.4s, v1.16b, v2.16b" : : : "v0");'),
}

# -ffast-math and -fassociative-math are not used: they would change NaN, infinity and denormals, also in the program
# that loads the libraries, and the order of sums, which the rounding in vector.h depends on.
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
    """Adds the compiled kernels to a wheel, or next to their source for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernels; if that fails, display the reason and continue, except for a stated platform."""
        target = os.environ.get(PLATFORM, "")
        folder = Path(self.root, "kernels", FOLDER)
        self.scratch = tempfile.TemporaryDirectory(prefix="millpond-build-")
        try:
            libraries = compile_kernels(sorted(folder.glob("*.c")), Path(self.scratch.name))
        except CannotCompileError as error:
            if target:
                raise
            self.app.display_warning(
                f"millpond: {error}; built without compiled kernels, torch kernels are used instead"
            )
            libraries = []
        if version == "editable":
            replace(libraries, folder)
        elif libraries:
            build_data["force_include"] |= {str(library): f"{FOLDER}/{library.name}" for library in libraries}
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{target or platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the compiled files after they were packed."""
        self.scratch.cleanup()


class CannotCompileError(Exception):
    """The kernels cannot be compiled; the message states the reason."""


def compile_kernels(sources: list[Path], folder: Path) -> list[Path]:
    """Compile a shared library for each level into a folder; they depend only on libc and libm."""
    if os.environ.get(SKIP, "0") not in ("", "0"):
        raise CannotCompileError(f"{SKIP} is set")
    machine = os.environ.get(PLATFORM) or platform.machine()
    architecture = next((ARCHITECTURES[name] for name in ARCHITECTURES if machine.lower().endswith(name)), None)
    if architecture is None:
        raise CannotCompileError(f"the kernels require {' or '.join(LEVELS)}, and the wheel is for {machine}")
    compiler = shlex.split(os.environ.get("CC", "")) or [name for name in COMPILERS if shutil.which(name)][:1]
    if not compiler:
        raise CannotCompileError(f"no C compiler found (tried {', '.join(COMPILERS)}; set CC to use a different one)")
    macro, instruction, *requires = OPTIONAL_INSTRUCTIONS[architecture]
    extra = (f"-D{macro}",) if can_compile([*compiler, *requires], instruction, folder) else ()
    libraries = {level: folder / f"kernels-{level}{suffix()}" for level in LEVELS[architecture]}
    for level, library in libraries.items():
        name = level.replace("-", "_") if "ziglang" in compiler else level  # zig has its own names of processors
        processor = () if level == architecture else (f"-march={name}",)
        options = (*FLAGS, *extra, *processor, *name_options(library), f"-DWIDTH={LEVELS[architecture][level]}")
        run([*compiler, *options, "-o", str(library), *map(str, sources), "-lm"])
    return [*libraries.values()]


def name_options(library: Path) -> tuple[str, ...]:
    """Return the options for the name that a library for macOS contains, by default its path, which is temporary."""
    is_macos = (os.environ.get(PLATFORM) or sys.platform).startswith(("macosx", "darwin"))
    return (f"-Wl,-install_name,{library.name}",) if is_macos else ()


def suffix() -> str:
    """Return the suffix of the libraries; on macOS, Python uses that of Linux for its own modules too."""
    return ".dll" if (os.environ.get(PLATFORM) or sys.platform).startswith("win") else ".so"


def run(command: list[str]) -> None:
    """Run the compiler; its output goes to the output of the build."""
    try:
        subprocess.run(command, check=True)  # noqa: S603  the compiler comes from CC or COMPILERS
    except OSError as error:
        raise CannotCompileError(f"the C compiler {command[0]} cannot be started ({error.strerror})") from error
    except subprocess.CalledProcessError as error:
        raise CannotCompileError(f"{command[0]} could not compile the kernels, see above") from error


def can_compile(compiler: list[str], statement: str, folder: Path) -> bool:
    """True if the compiler and its assembler accept a statement."""
    probe = folder / "probe.c"
    probe.write_text(f"void probe(void) {{ {statement} }}\n", encoding="utf-8")
    command = [*compiler, "-c", str(probe), "-o", str(probe.with_suffix(".o"))]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  the compiler comes from CC or COMPILERS
    except OSError:
        return False  # `run` reports a compiler that does not start


def replace(libraries: list[Path], folder: Path) -> None:
    """Replace the libraries in a folder. Old files are removed, not overwritten: programs may have loaded them."""
    for library in (*folder.glob("*.so"), *folder.glob("*.dll")):
        library.unlink()
    for library in libraries:
        shutil.copy(library, folder)


def platform_tag() -> str:
    """Return the tag of this platform. `auditwheel repair` determines which older versions of Linux are supported."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
