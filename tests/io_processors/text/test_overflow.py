"""Prompts over the model's maximum: refused, truncated with a warning, or embedded in pieces."""

import asyncio
import importlib
import json
import logging

import numpy as np
import pytest
import tokenizers

from millpond import AsyncLLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import vocabulary, write_sentence_transformers

LONG_TEXT = "the cat was on a mill " * 25  # 150 words
SHORT_TEXT = "the old dog"
MEAN = {"pooling_type": "MEAN"}
WARNING = (
    "on_overflow='truncate': %d of %d prompts were over the model's maximum and truncated; at least %d tokens dropped"
)


def unit(vector):
    return vector / np.linalg.norm(vector)


def slices(ids, size=64):
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def weighted(vectors, counts):
    """The mean of the vectors, weighted by the counts, in float64."""
    return sum(np.float64(count) * vector for vector, count in zip(vectors, counts, strict=True)) / sum(counts)


def whole_ids(text):
    ids = vocabulary()
    return [ids[word] for word in ("[CLS]", *text.split(), "[SEP]")]


# --- refused ----------------------------------------------------------------------------------------------------------


def test_by_default_a_long_prompt_is_an_error_that_names_the_alternatives(tiny_bert):
    message = (
        r"^prompt 1: This model's maximum context length is 64 tokens\. However, your prompt contains 152 input "
        r"tokens\. Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1, or embed it "
        r"in pieces with on_overflow='chunk'\.$"
    )
    with pytest.raises(InvalidInputError, match=message):
        tiny_bert.embed([SHORT_TEXT, LONG_TEXT])
    with pytest.raises(InvalidInputError, match=r"cut it with truncate_prompt_tokens=-1\.$"):
        tiny_bert.encode(LONG_TEXT, pooling_task="token_embed")


def test_the_call_takes_precedence_over_the_model(checkpoint, load):
    llm = load(checkpoint, on_overflow="truncate")
    with pytest.raises(InvalidInputError, match="maximum context length"):
        llm.embed(LONG_TEXT, on_overflow="error")
    outputs = llm.embed([LONG_TEXT, LONG_TEXT], pooling_params=[PoolingParams(on_overflow="chunk"), None])
    assert [output.truncated for output in outputs] == [False, True]


@pytest.mark.parametrize("value", ["cut", 5, True])
def test_an_unknown_value_is_refused(tiny_bert, checkpoint, load, value):
    message = rf"on_overflow={value!r}: Input should be 'error', 'truncate' or 'chunk'"
    with pytest.raises(InvalidInputError, match=f"^{message}") as caught:
        tiny_bert.embed("cat", on_overflow=value)
    assert caught.value.parameter == "on_overflow"
    with pytest.raises(InvalidInputError, match=message):
        load(checkpoint, on_overflow=value)


# --- cut --------------------------------------------------------------------------------------------------------------


def test_truncation_is_logged_once_per_call(tiny_bert, caplog):
    prompts = [SHORT_TEXT, LONG_TEXT, "cat", LONG_TEXT, [5] * 70]
    outputs = tiny_bert.embed(prompts, on_overflow="truncate", use_tqdm=False)
    assert [output.num_prompt_tokens for output in outputs] == [5, 64, 3, 64, 64]
    dropped = len(whole_ids(LONG_TEXT)) - 64
    assert [output.num_dropped_tokens for output in outputs] == [0, dropped, 0, dropped, 6]
    assert [output.truncated for output in outputs] == [False, True, False, True, True]
    assert [record.getMessage() for record in caplog.records] == [WARNING % (3, 5, 2 * dropped + 6)]
    cut = tiny_bert.embed(prompts, truncate_prompt_tokens=-1)
    assert [output.outputs for output in cut] == [output.outputs for output in outputs]


def test_truncation_to_an_explicit_length_is_not_logged(tiny_bert, caplog):
    (output,) = tiny_bert.embed(LONG_TEXT, on_overflow="truncate", truncate_prompt_tokens=10)
    assert output.num_prompt_tokens == 10
    (output,) = tiny_bert.embed(LONG_TEXT, on_overflow="chunk", truncate_prompt_tokens=10)
    assert output.num_prompt_tokens == 10
    tiny_bert.embed(SHORT_TEXT, on_overflow="truncate")
    assert caplog.records == []


def test_every_task_can_truncate(tiny_bert, caplog):
    (output,) = tiny_bert.encode(LONG_TEXT, pooling_task="token_embed", on_overflow="truncate")
    assert output.outputs.data.shape == (64, 32)
    assert len(caplog.records) == 1


def test_async_calls_behave_the_same(tiny_folder, tiny_bert, caplog):
    async def main():
        async with AsyncLLM(str(tiny_folder), num_workers=1, pooler_config=MEAN) as llm:
            cut = await llm.embed([SHORT_TEXT, LONG_TEXT], on_overflow="truncate")
            return cut, await llm.embed([SHORT_TEXT, LONG_TEXT], on_overflow="chunk")

    cut, chunked = asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [WARNING % (1, 2, len(whole_ids(LONG_TEXT)) - 64)]
    assert [output.truncated for output in cut] == [False, True]
    for output, twin in zip(chunked, tiny_bert.embed([SHORT_TEXT, LONG_TEXT], on_overflow="chunk"), strict=True):
        assert output.prompt_token_ids == twin.prompt_token_ids
        np.testing.assert_allclose(output.outputs.array, twin.outputs.array, atol=1e-6, rtol=0)


def test_a_limit_that_leaves_no_token_is_refused(checkpoint, load):
    llm = load(checkpoint, max_model_len=2)
    with pytest.raises(InvalidInputError, match=r"on_overflow='truncate' leaves an empty prompt") as caught:
        llm.embed("cat", on_overflow="truncate")
    assert caught.value.parameter == "on_overflow"


# --- in pieces --------------------------------------------------------------------------------------------------------


def test_the_vector_of_a_long_text_is_the_weighted_mean_of_its_pieces(tiny_bert, hidden_states):
    ids = whole_ids(LONG_TEXT)
    (output,) = tiny_bert.embed(LONG_TEXT, on_overflow="chunk")
    assert output.prompt_token_ids == ids
    assert (output.num_prompt_tokens, output.truncated) == (len(ids), False)
    pieces = slices(ids)
    assert len(pieces) == 3
    means = [unit(hidden_states(piece).mean(axis=0)) for piece in pieces]
    expected = unit(weighted(means, [len(piece) for piece in pieces]))
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


@pytest.mark.parametrize("mode", ["MEAN", "CLS", "LAST", "MAX", "CLS+MEAN"])
@pytest.mark.parametrize("use_activation", [True, False])
def test_every_pooling_type_is_merged_in_the_same_way(checkpoint, load, mode, use_activation):
    llm = load(checkpoint, pooler_config={"pooling_type": mode, "use_activation": use_activation})
    pieces = slices(whole_ids(LONG_TEXT))
    vectors = [output.outputs.array for output in llm.embed(pieces)]
    expected = weighted(vectors, [len(piece) for piece in pieces])
    (output,) = llm.embed(LONG_TEXT, on_overflow="chunk")
    assert np.abs(output.outputs.array - (unit(expected) if use_activation else expected)).max() <= 1e-6


def test_the_mean_is_not_normalized_on_request(checkpoint, load):
    llm = load(checkpoint, pooler_config={**MEAN, "enable_chunked_processing": True, "chunk_renormalize": False})
    pieces = slices(whole_ids(LONG_TEXT))
    vectors = [output.outputs.array for output in llm.embed(pieces)]
    (output,) = llm.embed(LONG_TEXT)
    expected = weighted(vectors, [len(piece) for piece in pieces])
    assert np.linalg.norm(expected) < 0.9999
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


def test_dimensions_apply_to_each_piece(checkpoint, load):
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True}, pooler_config=MEAN)
    params = PoolingParams(dimensions=8)
    pieces = slices(whole_ids(LONG_TEXT))
    vectors = [output.outputs.array for output in llm.embed(pieces, pooling_params=params)]
    (output,) = llm.embed(LONG_TEXT, pooling_params=params, on_overflow="chunk")
    expected = unit(weighted(vectors, [len(piece) for piece in pieces]))
    assert output.outputs.array.shape == (8,)
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


def test_tokens_of_an_excluded_prompt_have_no_weight(checkpoint, load):
    write_sentence_transformers(checkpoint, normalize=False)
    config = checkpoint / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    llm = load(checkpoint)
    pieces = slices(whole_ids("on the " + LONG_TEXT))
    states = [output.outputs.array for output in llm.encode(pieces, pooling_task="token_embed")]
    pooled = [states[0][3:], *states[1:]]
    expected = weighted([rows.mean(axis=0) for rows in pooled], [len(rows) for rows in pooled])
    (output,) = llm.embed(LONG_TEXT, prompt="on the ", on_overflow="chunk")
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


def test_token_ids_and_short_texts_among_long_ones_keep_their_order(tiny_bert):
    ids = whole_ids(LONG_TEXT)
    outputs = tiny_bert.embed([SHORT_TEXT, LONG_TEXT, ids, "cat", LONG_TEXT + LONG_TEXT], on_overflow="chunk")
    assert outputs[1].outputs == outputs[2].outputs
    assert [output.num_prompt_tokens for output in outputs] == [5, 152, 152, 3, 302]
    short, cat = tiny_bert.embed([SHORT_TEXT, "cat"])
    assert np.abs(outputs[0].outputs.array - short.outputs.array).max() <= 1e-6
    assert np.abs(outputs[3].outputs.array - cat.outputs.array).max() <= 1e-6


@pytest.mark.parametrize("settings", [{"on_overflow": "chunk"}, {"pooler_config": {"enable_chunked_processing": True}}])
def test_the_setting_can_be_an_argument_of_the_model(checkpoint, load, settings, caplog):
    llm = load(checkpoint, **settings)
    with caplog.at_level(logging.INFO, logger="millpond_io"):
        assert llm.embed([SHORT_TEXT, LONG_TEXT])[1].num_prompt_tokens == 152
    assert [record.getMessage() for record in caplog.records] == [
        "Input length 152 exceeds max_position_embeddings 64, will use chunked processing",
        "Split input of 152 tokens into 3 chunks (max_chunk_size: 64)",
    ]
    with pytest.raises(InvalidInputError, match="maximum context length is 64"):
        llm.embed(LONG_TEXT, on_overflow="error")
    with pytest.raises(InvalidInputError, match="maximum context length is 64"):
        llm.encode(LONG_TEXT, pooling_task="token_embed")
    assert llm.encode(SHORT_TEXT, pooling_task="token_embed")[0].num_prompt_tokens == 5


def test_other_tasks_refuse_chunks(tiny_bert):
    with pytest.raises(
        InvalidInputError, match=r"on_overflow='chunk' is only supported by the task 'embed'.*'token_embed'"
    ) as caught:
        tiny_bert.encode(SHORT_TEXT, pooling_task="token_embed", on_overflow="chunk")
    assert caught.value.parameter == "on_overflow"


def test_the_longest_text_accepted(checkpoint, load):
    llm = load(checkpoint, pooler_config={"enable_chunked_processing": True, "max_embed_len": 151})
    message = (
        r"This model's maximum embedding input length is 151 tokens\. However, you requested 152 tokens in the input "
        r"for embedding generation\. Please reduce the length of the input"
    )
    with pytest.raises(InvalidInputError, match=message):
        llm.embed(LONG_TEXT)
    assert llm.embed(LONG_TEXT.rpartition(" mill")[0])[0].num_prompt_tokens == 151
    with pytest.raises(
        InvalidInputError, match=r"maximum embedding input length is 151 tokens.*contains 40000 characters"
    ):
        llm.embed("a" * 40_000)


def test_the_longest_text_accepted_may_be_shorter_than_max_model_len(checkpoint, load):
    llm = load(checkpoint, pooler_config={"max_embed_len": 10})
    assert llm.embed([5] * 10)[0].num_prompt_tokens == 10
    with pytest.raises(InvalidInputError, match=r"maximum embedding input length is 10 tokens.*requested 11 tokens"):
        llm.embed([5] * 11)
    assert llm.embed([5] * 11, truncate_prompt_tokens=-1)[0].num_prompt_tokens == 10
    assert llm.encode([5] * 11, pooling_task="token_embed")[0].num_prompt_tokens == 11


def test_a_text_of_megabytes_is_merged_too(tiny_bert):
    (output,) = tiny_bert.embed("cat " * 50_000, on_overflow="chunk")
    assert output.num_prompt_tokens == 50_002
    assert abs(np.linalg.norm(output.outputs.array) - 1) <= 1e-6


# --- truncated on the side that the tokenizer specifies ---


@pytest.mark.parametrize("config", [None, "left", "right"])
@pytest.mark.parametrize("direction", [None, "left", "right"])
def test_a_text_is_truncated_on_the_side_of_the_tokenizer(checkpoint, load, config, direction):
    say_side(checkpoint, config, direction)
    text = "the old dog was on a high hill in the rain"
    reference = importlib.import_module("transformers").AutoTokenizer.from_pretrained(str(checkpoint))
    expected = reference(text, truncation=True, max_length=7)["input_ids"]
    llm = load(checkpoint)
    assert llm.embed(text, truncate_prompt_tokens=7)[0].prompt_token_ids == expected
    ids = reference(text)["input_ids"]
    cut = ids[-7:] if reference.truncation_side == "left" else ids[:7]
    assert llm.embed([ids], truncate_prompt_tokens=7)[0].prompt_token_ids == cut


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_of_a_call_takes_precedence_over_the_tokenizers(checkpoint, load, side):
    say_side(checkpoint, "left" if side == "right" else "right", None)
    llm, ids = load(checkpoint), vocabulary()
    (output,) = llm.embed(
        "the cat was on a hill", truncate_prompt_tokens=4, tokenization_kwargs={"truncation_side": side}
    )
    kept = ("a", "hill") if side == "left" else ("the", "cat")
    assert output.prompt_token_ids == [ids[word] for word in ("[CLS]", *kept, "[SEP]")]


def say_side(folder, config, direction):
    """Write the side that tokens are cut from into the tokenizer's files, or into neither."""
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    stated = {} if config is None else {"truncation_side": config}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **stated}), encoding="utf-8")
    if direction is not None:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(max_length=50, direction=direction)
        tokenizer.save(str(folder / "tokenizer.json"))
