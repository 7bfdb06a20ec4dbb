"""Decoders: 16-bit and int8 computation, and batch-invariant results."""

import numpy as np
import pytest
import torch
from decoder_kit import FEW_LENGTHS, LENGTHS, NAMES, prompts_of
from model_kit import min_embedding_cosine

from millpond import LLM
from millpond.testing.checkpoints import tiny


def noise(actual, expected):
    """Return the root mean square of the differences, relative to that of the expected values."""
    actual, expected = np.concatenate(actual), np.concatenate(expected)
    return float(np.sqrt(np.square(actual - expected).mean() / np.square(expected).mean()))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_transformers(tmp_path, load, hidden, reference, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of(LENGTHS)
    exact = reference(folder, prompts)
    actual = hidden(load(folder, dtype="bfloat16"), prompts)
    theirs = noise(reference(folder, prompts, dtype=torch.bfloat16), exact)
    assert 1e-3 < noise(actual, exact) <= 1.2 * theirs < 0.05


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_16_bit_checkpoint_is_computed_in_float32_without_loss(tmp_path, equals_reference, name, dtype):
    assert equals_reference(tiny(name, tmp_path, dtype=dtype), prompts_of(FEW_LENGTHS), dtype="float32")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [True, False])
def test_int8_is_near_float32(tmp_path, load, name, causal):
    folder = tiny(name, tmp_path, hidden_size=128, head_dim=32, intermediate_size=256, is_causal=causal)
    prompts = prompts_of(LENGTHS)
    assert (
        0.99 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7
    )  # quantization has an effect


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_deterministic_results_are_bit_identical_in_every_batch(tmp_path, load, hidden, name, settings, causal):
    folder = tiny(name, tmp_path, is_causal=causal, intermediate_size=50)
    prompts = prompts_of(LENGTHS)
    large = load(folder, batch_invariant=True, **settings)
    together = hidden(large, prompts)
    assert all(np.array_equal(hidden(large, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))
    small = load(folder, batch_invariant=True, max_num_batched_tokens=40, max_num_seqs=3, **settings)
    assert all(map(np.array_equal, hidden(small, prompts), together))


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_pytorch_tanh", "relu"])
def test_deterministic_results_are_bit_identical_on_several_threads(tmp_path, hidden, activation):
    """A single long text is computed by all threads, which may split a row; other texts by one thread."""
    folder = tiny("LlamaModel", tmp_path, max_position_embeddings=2048, intermediate_size=90, hidden_act=activation)
    (long,) = prompts_of([1801])
    with (
        LLM(str(folder), batch_invariant=True, num_workers=2, max_num_batched_tokens=8192) as many,
        LLM(str(folder), batch_invariant=True, num_workers=1, max_num_batched_tokens=8192) as one,
    ):
        alone = hidden(many, long)[0]
        np.testing.assert_array_equal(alone, hidden(one, long)[0])
        np.testing.assert_array_equal(alone, hidden(many, [[5, 6, 7], long, [9] * 700])[1])
