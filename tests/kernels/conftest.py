"""Processors of other levels than this one's, as far as it can play them."""

import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

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


def _levels():
    for level in ("avx2", "avx512", "avx512_vnni"):
        yield pytest.param(level, id=level)
    yield pytest.param("avx_vnni", id="avx_vnni", marks=pytest.mark.slow)  # compiles a library


@pytest.fixture(params=_levels())
def level(request):
    """The name of a level whose kernels run for the test; skipped where this processor cannot run them."""
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
