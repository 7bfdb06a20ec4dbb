"""Processors of other levels than this one's, as far as it can play them."""

import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulated_kernels import PROCESSORS, compile_runner, emulated, emulator
from filelock import FileLock

from millpond_kernels import native

SOURCES = Path(native.__file__).parent
FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")


def forget():
    """Empty the caches of the kernels: they hold functions of the library that was loaded first."""
    for name, module in list(sys.modules.items()):
        if name.startswith("millpond_kernels"):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


@contextmanager
def pretending(level, **attributes):
    """Run the kernels of a level; attributes of the module ``native`` are replaced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(native.LEVEL_VARIABLE, level)
        for name, value in attributes.items():
            patch.setattr(native, name, value)
        forget()
        yield
    forget()


@pytest.fixture(scope="session")
def avx_vnni_library(tmp_path_factory):
    """The folder of an AVX2 library whose 256-bit dot products are encoded for AVX-512 VNNI: else the same code."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs a C compiler, on x86-64")
    folder = tmp_path_factory.mktemp("avx-vnni")
    options = [*FLAGS, "-march=x86-64-v3", "-DWIDTH=8", "-DAVX512_ENCODING", "-pthread"]
    output = ["-o", str(folder / native.LIBRARIES["AVX2"])]
    subprocess.run([compiler, *options, *output, *map(str, sorted(SOURCES.glob("*.c"))), "-lm"], check=True)
    return folder


@pytest.fixture(scope="session")
def on_arm(tmp_path_factory):
    """Return a context manager, in which the kernels of a level of ARM processors run in an emulator.

    They are compiled once for all processes of a test run.
    """
    emulator()
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with FileLock(folder / "arm.lock"):
        program = folder / "arm" / "run_kernels"
        if not program.exists():
            program.parent.mkdir(exist_ok=True)
            compile_runner(program)

    @contextmanager
    def run(level):
        with emulated(program, level) as attributes, pretending(level, **attributes):
            yield level

    return run


def _slow(*levels):
    """The parameters of levels whose kernels are compiled by the tests."""
    return [pytest.param(level, id=level, marks=pytest.mark.slow) for level in levels]


@pytest.fixture(params=["avx2", "avx512", "avx512_vnni", *_slow("avx_vnni", *PROCESSORS)])
def level(request):
    """The name of a level whose kernels run for the test; skipped where this processor cannot run them."""
    if request.param in PROCESSORS:
        with request.getfixturevalue("on_arm")(request.param):
            yield request.param
        return
    name, vectors = request.param, native.LEVELS[request.param]
    flags = native.processor_flags()
    attributes = {}
    if name == "avx_vnni" and not flags.get("avx_vnni"):
        if not (flags.get("avx512_vnni") and flags.get("avx512_vl")):
            pytest.skip("needs a processor with AVX-VNNI, or AVX-512 VNNI in its place")
        folder = request.getfixturevalue("avx_vnni_library")
        attributes = {"FOLDER": folder, "processor_flags": lambda: {"avx_vnni": True}}
    with pretending(name, **attributes):
        if native.availability() is not True or native.capability() != vectors:
            pytest.skip(f"needs the kernels compiled for {vectors}, and a processor with it")
        if name.endswith("vnni") and not native.int8_dot_products():
            pytest.skip(f"needs a processor with {name}")
        yield name


@pytest.fixture(params=["avx2", "avx512", "avx512_bf16", *_slow("neon")])
def bf16_level(request):
    """Like ``level``, for products of bfloat16 values."""
    if request.param in PROCESSORS:
        with request.getfixturevalue("on_arm")(request.param):
            yield request.param
        return
    with pretending(request.param):
        if native.availability() is not True or native.capability() != native.LEVELS[request.param]:
            pytest.skip(f"needs the compiled kernels, and a processor with {request.param}")
        if request.param == "avx512_bf16" and not native.bf16_dot_products():
            pytest.skip("needs a processor with AVX512-BF16")
        yield request.param
