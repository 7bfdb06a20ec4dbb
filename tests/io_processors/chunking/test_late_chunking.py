"""``late_chunking_params`` of ``token_embed``: means of the tokens of each chunk, before they are normalized."""

from functools import partial

import numpy as np
import pytest

from millpond import InvalidInputError, LateChunkingParams, PoolingParams
from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers
from millpond.types.late_chunking import LateChunk
from millpond_io.chunking.late import late_chunks

TEXT = "the old mill by the pond"


def encode(llm, text=TEXT, **params):
    return llm.encode(text, PoolingParams(**params), pooling_task="token_embed", use_tqdm=False)


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_chunks_are_the_means_of_the_tokens_before_they_are_normalized(tiny_bert, size):
    (raw,) = encode(tiny_bert, use_activation=False)
    expected = np.stack([part.mean(axis=0) for part in np.split(raw.outputs.array, range(size, 8, size))])
    params = LateChunkingParams(size)
    (plain,) = encode(tiny_bert, late_chunking_params=params, use_activation=False)
    np.testing.assert_allclose(plain.outputs.array, expected, atol=1e-6)
    (normal,) = encode(tiny_bert, late_chunking_params=params)
    np.testing.assert_allclose(normal.outputs.array, expected / np.linalg.norm(expected, axis=1)[:, None], atol=1e-6)
    assert (normal.late_chunking.chunk_size, normal.late_chunking.input_tokens) == (size, 8)
    assert len(normal.late_chunking.chunks) == len(expected)


def test_chunks_name_their_tokens_and_characters(tiny_bert):
    (output,) = encode(tiny_bert, late_chunking_params=LateChunkingParams(3))
    assert output.late_chunking.chunks == (
        LateChunk((0, 3), (0, 7)),
        LateChunk((3, 6), (8, 19)),
        LateChunk((6, 8), (20, 24)),
    )
    (alone,) = encode(tiny_bert, late_chunking_params=LateChunkingParams(1))
    assert [chunk.char_range for chunk in alone.late_chunking.chunks][:2] == [None, (0, 3)]
    assert encode(tiny_bert)[0].late_chunking is None


def test_prompts_of_one_call_may_have_chunks_of_different_sizes(tiny_bert):
    params = [PoolingParams(late_chunking_params=LateChunkingParams(2)), None]
    chunked, whole = tiny_bert.encode([TEXT] * 2, params, pooling_task="token_embed", use_tqdm=False)
    assert (chunked.outputs.data.shape, whole.outputs.data.shape) == ((4, 32), (8, 32))
    assert (chunked.late_chunking is None, whole.late_chunking is None) == (False, True)
    assert chunked.prompt_token_ids == whole.prompt_token_ids
    assert params[0].task is None


def test_chunks_of_special_tokens_alone_have_no_characters():
    metadata = late_chunks([(0, 0), (0, 1), (2, 3), (2, 3), (4, 6), (0, 0)], 4)
    assert [(chunk.token_range, chunk.char_range) for chunk in metadata.chunks] == [((0, 4), (0, 3)), ((4, 6), (4, 6))]


@pytest.mark.parametrize("value", [0, -1, True, False, 1.5, "2", None], ids=repr)
def test_a_size_must_be_a_positive_integer(value):
    with pytest.raises(InvalidInputError, match="chunk_size must be a positive integer"):
        LateChunkingParams(chunk_size=value)


@pytest.mark.parametrize("value", [5, {"size": 3}, {"chunk_size": 0}, {"chunk_size": 3, "overlap": 1}], ids=str)
def test_parameters_of_another_form_are_refused(value):
    with pytest.raises(ValueError, match=r"chunk_size"):
        PoolingParams(late_chunking_params=value)
    assert PoolingParams(late_chunking_params={"chunk_size": 3}).late_chunking_params == LateChunkingParams(3)


def test_other_tasks_are_refused(tiny_bert):
    params = PoolingParams(late_chunking_params=LateChunkingParams(2))
    for call in (tiny_bert.embed, partial(tiny_bert.embed_chunks, chunk_tokens=2)):
        with pytest.raises(InvalidInputError, match="Late chunking requires token_embed"):
            call(TEXT, pooling_params=params)
    with pytest.raises(InvalidInputError, match="Late chunking does not support late-interaction scoring"):
        tiny_bert.score(TEXT, TEXT, pooling_params=params)


def test_classes_are_not_chunked(tmp_path, load):
    llm = load(tiny("BertForSequenceClassification", tmp_path / "model"))
    params = PoolingParams(late_chunking_params=LateChunkingParams(2))
    with pytest.raises(InvalidInputError, match="Late chunking requires token_embed; the task is 'classify'"):
        llm.classify(TEXT, pooling_params=params)


@pytest.mark.parametrize("prompt", [[5, 6], {"prompt_token_ids": [5, 6]}, ""], ids=repr)
def test_an_input_that_is_not_a_text_is_refused(tiny_bert, prompt):
    with pytest.raises(InvalidInputError, match="nonempty plain-text"):
        encode(tiny_bert, [prompt], late_chunking_params=LateChunkingParams(2))


@pytest.mark.parametrize(
    "more",
    [
        {"dimensions": 32},
        {"truncate_prompt_tokens": 4},
        {"pad_prompt_tokens": 9},
        {"prompt": "query: "},
        {"on_overflow": "truncate"},
        {"extra_kwargs": {"pool_factor": 2}},
    ],
    ids=str,
)
def test_options_that_change_tokens_or_vectors_are_refused(tiny_bert, more):
    with pytest.raises(InvalidInputError, match="Late chunking does not support") as caught:
        encode(tiny_bert, late_chunking_params=LateChunkingParams(2), **more)
    assert caught.value.parameter in {*more, "pool_factor"}


@pytest.mark.parametrize("activation", ["torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"])
def test_dense_modules_must_be_linear(tmp_path, load, activation):
    folder = tiny("BertModel", tmp_path / "model")
    dense = DenseLayer(in_features=32, out_features=8, activation=activation)
    write_sentence_transformers(folder, dense=(dense,))
    llm = load(folder)
    if "Tanh" in activation:
        with pytest.raises(InvalidInputError, match="Late chunking does not support"):
            encode(llm, late_chunking_params=LateChunkingParams(2))
        return
    (raw,) = encode(llm, use_activation=False)
    (output,) = encode(llm, late_chunking_params=LateChunkingParams(8), use_activation=False)
    np.testing.assert_allclose(output.outputs.array, raw.outputs.array.mean(axis=0, keepdims=True), atol=1e-6)
