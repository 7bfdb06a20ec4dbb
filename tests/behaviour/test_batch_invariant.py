"""Test ``batch_invariant=True``: the result for a text is bit-identical in every batch."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millpond import LLM, UnknownNameError
from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers
from millpond.testing.tokenizers import WORDS
from millpond_kernels import native

TORCH_KERNELS = {"linear": "tiles", "attention": "reference", "gelu": "erf", "layer_norm_residual": "torch"}
SETTINGS = [
    pytest.param({}, id="float32"),
    pytest.param({"kernels": TORCH_KERNELS}, id="torch only"),
    pytest.param({"quantization": "int8"}, id="int8"),
    pytest.param(
        {"quantization": "int8", "kernels": {"linear": "int8_torch"}},
        id="int8 in torch",
        marks=pytest.mark.skipif(native.torch_int8_availability() is not True, reason="needs AVX-512 VNNI"),
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a checkpoint with attention heads of size 16 and a Dense module after pooling."""
    path = tiny("BertModel", tmp_path_factory.mktemp("deterministic"), hidden_size=64, num_attention_heads=4)
    write_sentence_transformers(path, size=64, dense=[DenseLayer(in_features=64, out_features=24)])
    return str(path)


@pytest.fixture(scope="module", params=SETTINGS)
def pair(request, folder):
    """Yield the model with large batches, and with small batches on two workers."""
    large = LLM(folder, batch_invariant=True, num_workers=1, max_num_batched_tokens=4096, **request.param)
    small = LLM(folder, batch_invariant=True, num_workers=2, max_num_batched_tokens=40, max_num_seqs=3, **request.param)
    with large, small:
        yield large, small


def arrays(llm, texts):
    return [output.outputs.array for output in llm.embed(texts, use_tqdm=False)]


texts_of_words = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=30).map(" ".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(texts_of_words, min_size=1, max_size=25))
def test_results_are_bit_identical_in_all_batches(pair, texts):
    large, small = pair
    together = arrays(large, texts)
    for text, array in zip(texts, together, strict=True):
        (alone,) = arrays(large, [text])
        np.testing.assert_array_equal(alone, array)
    for one, other in zip(together, arrays(small, texts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_long_text_is_bit_identical_alone_and_in_a_batch(tmp_path):
    """A long text that is alone is computed in parts by several threads."""
    folder = str(
        tiny(
            "BertModel", tmp_path, hidden_size=64, num_attention_heads=4, max_position_embeddings=2100, tokenizer=False
        )
    )
    long = [1 + number % 50 for number in range(2000)]
    with LLM(folder, batch_invariant=True, skip_tokenizer_init=True, max_num_batched_tokens=8192) as llm:
        (alone,) = arrays(llm, [long])
        in_batch = arrays(llm, [[5, 6, 7], long, [9] * 700])[1]
    np.testing.assert_array_equal(alone, in_batch)


def test_kernels_that_are_not_batch_invariant_are_refused(folder):
    with pytest.raises(UnknownNameError, match=r"'linear.torch' .*batch-invariant"):
        LLM(folder, batch_invariant=True, kernels={"linear": "torch"})


@pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
def test_compiled_kernels_are_the_same_with_and_without_batch_invariant(folder):
    with LLM(folder, batch_invariant=True) as llm, LLM(folder) as other:
        kinds = [[type(m.map).__name__ for m in x._loaded.model.modules() if hasattr(m, "map")] for x in (llm, other)]  # noqa: SLF001
    assert kinds[0] == kinds[1]
