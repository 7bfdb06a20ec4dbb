"""The kernels in Triton: interpreted on the CPU, and compiled for GPUs that need not be here.

Where there is an NVIDIA GPU, ``test_conformance.py`` runs them on it.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
INTERPRETED = Path(__file__).with_name("triton_interpreted.py")
CLASSES = 3
GPUS = (80, 90)  # compute capabilities: A100, H100
FLOATS = ("*fp32", "*bf16", "*fp16")


@pytest.mark.slow
def test_kernels_equal_their_references_in_the_interpreter():
    """In a separate process: Triton selects its interpreter once, when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTERPRETED)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=INTERPRETED.parents[3],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    (skipped,) = re.findall(r"(\d+) skipped", done.stdout)  # the number of threads; the interpreter supports one
    assert int(passed) > 15 * CLASSES
    assert int(skipped) == CLASSES


@pytest.fixture
def compile_for(tmp_path, monkeypatch):
    """Compile a kernel to the machine code of a GPU, as its first launch would."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def compile_for(capability, kernel, types, constants):
        signature = dict(zip(kernel.arg_names, types, strict=False)) | dict.fromkeys(constants, "constexpr")
        assert set(signature) == set(kernel.arg_names)
        source = ASTSource(kernel, signature, constants)
        return triton.compile(source, target=GPUTarget("cuda", capability, 32))

    return compile_for


@pytest.mark.slow
def test_a_kernel_compiles_for_a_gpu(compile_for):
    from millpond_kernels.gpu import layer_norm_residual

    types = [*["*fp32"] * 5, "i32", "i32", "i32", "fp32"]
    compiled = compile_for(GPUS[0], layer_norm_residual._layer_norm_residual, types, {"BLOCK": 16})  # noqa: SLF001
    assert compiled.asm["cubin"][:4] == b"\x7fELF"


@pytest.mark.slow
@pytest.mark.parametrize("floats", FLOATS)
@pytest.mark.parametrize("capability", GPUS)
def test_every_kernel_compiles_for_gpus(compile_for, capability, floats):
    from millpond_kernels.gpu import layer_norm_residual, maxsim, segment_pool

    pooled = {"ROWS": segment_pool.ROWS, "COLUMNS": segment_pool.COLUMNS}
    pooling_types = [floats, "*i64", "*fp32", "*fp32", "i32", "i32", "i32"]
    near = {"column_stride": 1}  # a 1 is not an argument at a launch: it is compiled in
    trials = [
        (segment_pool._segment_pool, pooling_types, {**pooled, **strides, "HOW": how, "WEIGHTED": weighted})  # noqa: SLF001
        for how, weighted in (("sum", False), ("sum", True), ("mean", False), ("mean", True), ("max", False))
        for strides in ({}, near)
    ]
    norm_types = [*[floats] * 5, "i32", "i32", "i32", "fp32"]
    trials += [(layer_norm_residual._layer_norm_residual, norm_types, {"BLOCK": block}) for block in (16, 1024)]  # noqa: SLF001
    blocks = {"QUERY_ROWS": maxsim.QUERY_ROWS, "DOCUMENT_ROWS": maxsim.DOCUMENT_ROWS, "DIMS": maxsim.DIMS}
    maxsim_types = [floats, floats, "*i64", "*i64", "*i64", "*fp32", *["i32"] * 6]
    near = {"query_dim_stride": 1, "document_dim_stride": 1}
    trials += [
        (maxsim._maxsim, maxsim_types, {**blocks, **strides, "LISTED": listed})  # noqa: SLF001
        for listed, strides in ((False, {}), (False, near), (True, near))
    ]
    for kernel, types, constants in trials:
        compiled = compile_for(capability, kernel, types, constants)
        assert compiled.asm["cubin"][:4] == b"\x7fELF"
        assert compiled.metadata.shared <= 48 * 1024  # bytes, of shared memory, that every such GPU has for a program
