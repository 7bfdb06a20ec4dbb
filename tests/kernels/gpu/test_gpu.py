"""Requirements of GPU kernels, and the calls of torch's FlashAttention, as far as they can be tested without a GPU."""

from importlib.util import find_spec

import pytest
import torch

from millpond.nn import AttentionSpec, PackedBatch
from millpond.testing.conformance import KernelConformance
from millpond_kernels import gpu
from millpond_kernels.attention import varlen


@pytest.fixture
def nvidia(monkeypatch):
    """Take this machine for one with an NVIDIA GPU of a compute capability."""

    def nvidia(capability=(9, 0), *, flash=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
        monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: flash)

    return nvidia


def without(module):
    return lambda name: None if name == module else find_spec(name)


def test_availability_names_the_missing_requirements(monkeypatch, nvidia):
    nvidia()
    assert gpu.triton_availability() is True
    assert gpu.varlen_availability() is True
    nvidia((7, 5))
    assert gpu.triton_availability() is True
    assert gpu.varlen_availability() == "needs an NVIDIA GPU of compute capability 8.0 or newer (this one is: a GPU)"
    nvidia(flash=False)
    assert gpu.varlen_availability().startswith("needs a torch that is built with FlashAttention (this one is 2.")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert gpu.triton_availability().startswith("needs a C compiler (gcc, clang, or the one that CC names)")
    monkeypatch.setenv("CC", "zig cc")
    assert gpu.triton_availability() is True
    monkeypatch.setattr(gpu, "find_spec", without("triton"))
    assert gpu.triton_availability() == "needs the package triton"


@pytest.mark.parametrize(("available", "cuda"), [(False, "13.0"), (True, None)], ids=["no GPU", "a GPU of AMD"])
def test_an_nvidia_gpu_is_needed(monkeypatch, nvidia, available, cuda):
    nvidia()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert gpu.triton_availability() == "needs an NVIDIA GPU"
    assert gpu.varlen_availability() == "needs an NVIDIA GPU"


# --- attention.varlen -----------------------------------------------------------------------------------------------


def plain_flash_attention(query, key, value, cu_seqlens, max_length, *, scale, window):
    """The result of torch's op, one sequence at a time, with FlashAttention's requirements."""
    assert all(x.dtype in (torch.bfloat16, torch.float16) and x.stride(2) == 1 for x in (query, key, value))
    assert query.shape[2] % 8 == 0
    assert cu_seqlens.dtype == torch.int32
    assert max_length == max(cu_seqlens.diff().tolist())
    left, right = (float("inf") if size == -1 else size for size in window)
    output = torch.empty_like(query)
    for start, stop in zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True):
        behind = torch.arange(stop - start)[:, None] - torch.arange(stop - start)
        seen = (behind <= left) & (-behind <= right)
        k, v = (x[start:stop].float().repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query[start:stop].float(), k) * scale
        weights = scores.where(seen, -torch.inf).softmax(-1)
        output[start:stop] = torch.einsum("hqk,khd->qhd", weights, v).to(query.dtype)
    return output


class TestAttentionVarlen(KernelConformance):
    """Windows, causality, shared heads and odd heads, as they are passed to a substitute for torch's op."""

    name = "attention.varlen"
    device = "cpu"
    longest = 100
    seeds = 4

    @pytest.fixture(autouse=True)
    def substitute(self, monkeypatch):
        monkeypatch.setattr(varlen, "_flash_attention", plain_flash_attention)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("spec", [AttentionSpec(scale=0.1), AttentionSpec(scale=0.1, causal=True, window=3)], ids=str)
def test_torch_accepts_the_arguments(spec, kv_heads):
    """The meta device computes nothing, but checks the arguments."""
    batch = PackedBatch.pack([torch.zeros(3), torch.zeros(7)], device=torch.device("meta"))
    query = torch.empty(10, 4, 64, dtype=torch.bfloat16, device="meta")
    key = torch.empty(10, kv_heads, 64, dtype=torch.bfloat16, device="meta")
    actual = varlen.attention(query, key, key, batch, spec)
    assert (actual.shape, actual.dtype, actual.device) == (query.shape, query.dtype, query.device)


@pytest.mark.parametrize(
    ("spec", "causal", "window"),
    [
        (AttentionSpec(scale=0.1), False, (-1, -1)),
        (AttentionSpec(scale=0.1, causal=True), True, (-1, 0)),
        (AttentionSpec(scale=0.1, window=3), False, (3, 3)),
        (AttentionSpec(scale=0.1, causal=True, window=3), False, (3, 0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("names", [{"scale"}, {"scale", "num_splits"}], ids=["older torch", "torch"])
def test_the_op_receives_windows_and_a_single_split(monkeypatch, spec, causal, window, names):
    calls = []

    def op(query, *args, **options):
        calls.append((args, options))
        return (query,)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", op)
    monkeypatch.setattr(varlen, "_argument_names", lambda: frozenset(names))
    batch = PackedBatch.pack([torch.zeros(3), torch.zeros(7)])
    query = torch.zeros(10, 4, 64, dtype=torch.bfloat16)
    varlen.attention(query, query, query, batch, spec)
    ((args, options),) = calls
    assert (args[2].tolist(), args[4:]) == ([0, 3, 10], (7, 7, 0.0, causal))
    assert (options["window_size_left"], options["window_size_right"]) == window
    assert options.get("num_splits") == (1 if "num_splits" in names else None)
