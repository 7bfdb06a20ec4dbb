"""Requirements of GPU kernels, and the calls of torch's FlashAttention, as far as they can be tested without a GPU."""

from importlib.util import find_spec

import pytest
import torch

from millpond.nn import AttentionSpec, PackedBatch
from millpond.testing.conformance import KernelConformance
from millpond_kernels import gpu
from millpond_kernels.attention import varlen as attention_varlen

varlen = pytest.importorskip("torch.nn.attention.varlen", reason="needs torch.nn.attention.varlen")


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
    monkeypatch.setattr(gpu, "find_spec", without("torch.nn.attention.varlen"))
    assert gpu.varlen_availability().startswith("needs torch.nn.attention.varlen with windows, as in torch 2.12")
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


def plain_varlen_attn(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa, num_splits
):
    """The documented behaviour of ``varlen_attn``, one sequence at a time, with FlashAttention's requirements."""
    assert num_splits == 1
    assert enable_gqa is (query.shape[1] != key.shape[1])
    assert all(x.dtype in (torch.bfloat16, torch.float16) and x.stride(2) == 1 for x in (query, key, value))
    assert query.shape[2] % 8 == 0
    assert cu_seq_q.dtype == torch.int32
    assert cu_seq_q.tolist() == cu_seq_k.tolist()
    assert max_q == max_k == max(cu_seq_q.diff().tolist())
    left, right = (float("inf") if size == -1 else size for size in window_size)
    output = torch.empty_like(query)
    for start, stop in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        behind = torch.arange(stop - start)[:, None] - torch.arange(stop - start)
        seen = (behind <= left) & (-behind <= right)
        k, v = (x[start:stop].float().repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query[start:stop].float(), k) * scale
        weights = scores.where(seen, -torch.inf).softmax(-1)
        output[start:stop] = torch.einsum("hqk,khd->qhd", weights, v).to(query.dtype)
    return output


class TestAttentionVarlenAsked(KernelConformance):
    """Windows, causality, shared heads and odd heads, as they are handed over to a stand-in for torch's kernel."""

    name = "attention.varlen"
    device = "cpu"
    longest = 100
    seeds = 4

    @pytest.fixture(autouse=True)
    def stand_in(self, monkeypatch):
        monkeypatch.setattr(varlen, "varlen_attn", plain_varlen_attn)


def older_varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size):
    """``varlen_attn`` of a torch without shared heads and ``num_splits``."""
    options = {"scale": scale, "window_size": window_size, "enable_gqa": False, "num_splits": 1}
    return plain_varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **options)


class TestAttentionVarlenOfOlderTorch(TestAttentionVarlenAsked):
    longest = 20
    seeds = 2

    @pytest.fixture(autouse=True)
    def stand_in(self, monkeypatch):
        monkeypatch.setattr(varlen, "varlen_attn", older_varlen_attn)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("spec", [AttentionSpec(scale=0.1), AttentionSpec(scale=0.1, causal=True, window=3)], ids=str)
def test_torch_takes_what_it_is_asked(spec, kv_heads):
    """The meta device computes nothing, and checks the arguments all the same."""
    batch = PackedBatch.pack([torch.zeros(3), torch.zeros(7)], device=torch.device("meta"))
    query = torch.empty(10, 4, 64, dtype=torch.bfloat16, device="meta")
    key = torch.empty(10, kv_heads, 64, dtype=torch.bfloat16, device="meta")
    actual = attention_varlen.attention(query, key, key, batch, spec)
    assert (actual.shape, actual.dtype, actual.device) == (query.shape, query.dtype, query.device)
