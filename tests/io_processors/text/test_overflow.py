"""Prompts over the model's maximum: refused, cut with a word about it, or embedded in pieces and merged."""

import asyncio
import importlib
import json
import logging

import numpy as np
import pytest
import tokenizers

from millpond import AsyncLLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import vocabulary, write_sentence_transformers

LONG = "the cat was on a mill " * 25  # 150 words
SHORT = "the old dog"
MEAN = {"pooling_type": "MEAN"}
WARNING = "on_overflow='truncate': %d of %d prompts were over the model's maximum and truncated; %d tokens dropped"


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


def test_too_long_is_an_error_by_default_that_names_the_ways_out(tiny_bert):
    message = (
        r"^prompt 1: This model's maximum context length is 64 tokens\. However, your prompt contains 152 input "
        r"tokens\. Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1, or embed it "
        r"in pieces with on_overflow='chunk'\.$"
    )
    with pytest.raises(InvalidInputError, match=message):
        tiny_bert.embed([SHORT, LONG])
    with pytest.raises(InvalidInputError, match=r"cut it with truncate_prompt_tokens=-1\.$"):
        tiny_bert.encode(LONG, pooling_task="token_embed")


def test_the_call_counts_more_than_the_model(checkpoint, load):
    llm = load(checkpoint, on_overflow="truncate")
    with pytest.raises(InvalidInputError, match="maximum context length"):
        llm.embed(LONG, on_overflow="error")
    found = llm.embed([LONG, LONG], pooling_params=[PoolingParams(on_overflow="chunk"), None])
    assert [output.truncated for output in found] == [False, True]


@pytest.mark.parametrize("value", ["cut", 5, True])
def test_what_is_no_way_is_refused(tiny_bert, checkpoint, load, value):
    message = rf"on_overflow={value!r}: Input should be 'error', 'truncate' or 'chunk'"
    with pytest.raises(InvalidInputError, match=f"^{message}") as caught:
        tiny_bert.embed("cat", on_overflow=value)
    assert caught.value.parameter == "on_overflow"
    with pytest.raises(InvalidInputError, match=message):
        load(checkpoint, on_overflow=value)


# --- cut --------------------------------------------------------------------------------------------------------------


def test_what_was_cut_is_told_once_a_call(tiny_bert, caplog):
    prompts = [SHORT, LONG, "cat", LONG, [5] * 70]
    found = tiny_bert.embed(prompts, on_overflow="truncate", use_tqdm=False)
    assert [output.num_prompt_tokens for output in found] == [5, 64, 3, 64, 64]
    dropped = len(whole_ids(LONG)) - 64
    assert [output.num_dropped_tokens for output in found] == [0, dropped, 0, dropped, 6]
    assert [output.truncated for output in found] == [False, True, False, True, True]
    assert [record.getMessage() for record in caplog.records] == [WARNING % (3, 5, 2 * dropped + 6)]
    cut = tiny_bert.embed(prompts, truncate_prompt_tokens=-1)
    assert [output.outputs for output in cut] == [output.outputs for output in found]


def test_what_is_cut_by_the_callers_own_number_is_not_told(tiny_bert, caplog):
    (output,) = tiny_bert.embed(LONG, on_overflow="truncate", truncate_prompt_tokens=10)
    assert output.num_prompt_tokens == 10
    (output,) = tiny_bert.embed(LONG, on_overflow="chunk", truncate_prompt_tokens=10)
    assert output.num_prompt_tokens == 10
    tiny_bert.embed(SHORT, on_overflow="truncate")
    assert caplog.records == []


def test_every_task_may_cut(tiny_bert, caplog):
    (output,) = tiny_bert.encode(LONG, pooling_task="token_embed", on_overflow="truncate")
    assert output.outputs.data.shape == (64, 32)
    assert len(caplog.records) == 1


def test_asked_asynchronously_it_is_the_same(tiny_folder, tiny_bert, caplog):
    async def main():
        async with AsyncLLM(str(tiny_folder), num_workers=1, pooler_config=MEAN) as llm:
            cut = await llm.embed([SHORT, LONG], on_overflow="truncate")
            return cut, await llm.embed([SHORT, LONG], on_overflow="chunk")

    cut, chunked = asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [WARNING % (1, 2, len(whole_ids(LONG)) - 64)]
    assert [output.truncated for output in cut] == [False, True]
    for output, twin in zip(chunked, tiny_bert.embed([SHORT, LONG], on_overflow="chunk"), strict=True):
        assert output.prompt_token_ids == twin.prompt_token_ids
        np.testing.assert_allclose(output.outputs.array, twin.outputs.array, atol=1e-6, rtol=0)


def test_a_limit_that_leaves_nothing_is_refused(checkpoint, load):
    llm = load(checkpoint, max_model_len=2)
    with pytest.raises(InvalidInputError, match=r"on_overflow='truncate' leaves an empty prompt") as caught:
        llm.embed("cat", on_overflow="truncate")
    assert caught.value.parameter == "on_overflow"


# --- in pieces --------------------------------------------------------------------------------------------------------


def test_the_vector_of_a_long_text_is_the_mean_of_its_pieces_weighted_by_their_tokens(tiny_bert, hidden_states):
    ids = whole_ids(LONG)
    (output,) = tiny_bert.embed(LONG, on_overflow="chunk")
    assert output.prompt_token_ids == ids
    assert (output.num_prompt_tokens, output.truncated) == (len(ids), False)
    pieces = slices(ids)
    assert len(pieces) == 3
    means = [unit(hidden_states(piece).mean(axis=0)) for piece in pieces]
    expected = unit(weighted(means, [len(piece) for piece in pieces]))
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


@pytest.mark.parametrize("mode", ["MEAN", "CLS", "LAST", "MAX", "CLS+MEAN"])
@pytest.mark.parametrize("use_activation", [True, False])
def test_each_way_of_pooling_is_merged_alike(checkpoint, load, mode, use_activation):
    llm = load(checkpoint, pooler_config={"pooling_type": mode, "use_activation": use_activation})
    pieces = slices(whole_ids(LONG))
    vectors = [output.outputs.array for output in llm.embed(pieces)]
    expected = weighted(vectors, [len(piece) for piece in pieces])
    (output,) = llm.embed(LONG, on_overflow="chunk")
    assert np.abs(output.outputs.array - (unit(expected) if use_activation else expected)).max() <= 1e-6


def test_the_mean_is_left_as_it_is_when_that_is_said(checkpoint, load):
    llm = load(checkpoint, pooler_config={**MEAN, "enable_chunked_processing": True, "chunk_renormalize": False})
    pieces = slices(whole_ids(LONG))
    vectors = [output.outputs.array for output in llm.embed(pieces)]
    (output,) = llm.embed(LONG)
    expected = weighted(vectors, [len(piece) for piece in pieces])
    assert np.linalg.norm(expected) < 0.9999
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


def test_dimensions_are_cut_of_each_piece(checkpoint, load):
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True}, pooler_config=MEAN)
    params = PoolingParams(dimensions=8)
    pieces = slices(whole_ids(LONG))
    vectors = [output.outputs.array for output in llm.embed(pieces, pooling_params=params)]
    (output,) = llm.embed(LONG, pooling_params=params, on_overflow="chunk")
    expected = unit(weighted(vectors, [len(piece) for piece in pieces]))
    assert output.outputs.array.shape == (8,)
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


def test_the_tokens_of_a_prompt_weigh_nothing_where_they_are_not_pooled(checkpoint, load):
    write_sentence_transformers(checkpoint, normalize=False)
    config = checkpoint / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    llm = load(checkpoint)
    pieces = slices(whole_ids("on the " + LONG))
    states = [output.outputs.array for output in llm.encode(pieces, pooling_task="token_embed")]
    pooled = [states[0][3:], *states[1:]]
    expected = weighted([rows.mean(axis=0) for rows in pooled], [len(rows) for rows in pooled])
    (output,) = llm.embed(LONG, prompt="on the ", on_overflow="chunk")
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


def test_token_ids_and_short_texts_among_long_ones_keep_their_places(tiny_bert):
    ids = whole_ids(LONG)
    found = tiny_bert.embed([SHORT, LONG, ids, "cat", LONG + LONG], on_overflow="chunk")
    assert found[1].outputs == found[2].outputs
    assert [output.num_prompt_tokens for output in found] == [5, 152, 152, 3, 302]
    short, cat = tiny_bert.embed([SHORT, "cat"])
    assert np.abs(found[0].outputs.array - short.outputs.array).max() <= 1e-6
    assert np.abs(found[3].outputs.array - cat.outputs.array).max() <= 1e-6


@pytest.mark.parametrize("settings", [{"on_overflow": "chunk"}, {"pooler_config": {"enable_chunked_processing": True}}])
def test_a_model_may_be_loaded_so(checkpoint, load, settings, caplog):
    llm = load(checkpoint, **settings)
    with caplog.at_level(logging.INFO, logger="millpond_io"):
        assert llm.embed([SHORT, LONG])[1].num_prompt_tokens == 152
    assert [record.getMessage() for record in caplog.records] == [
        "Input length 152 exceeds max_position_embeddings 64, will use chunked processing",
        "Split input of 152 tokens into 3 chunks (max_chunk_size: 64)",
    ]
    with pytest.raises(InvalidInputError, match="maximum context length is 64"):
        llm.embed(LONG, on_overflow="error")
    with pytest.raises(InvalidInputError, match="maximum context length is 64"):
        llm.encode(LONG, pooling_task="token_embed")
    assert llm.encode(SHORT, pooling_task="token_embed")[0].num_prompt_tokens == 5


def test_other_tasks_have_nothing_to_merge(tiny_bert):
    with pytest.raises(
        InvalidInputError, match=r"on_overflow='chunk' is only supported by the task 'embed'.*'token_embed'"
    ) as caught:
        tiny_bert.encode(SHORT, pooling_task="token_embed", on_overflow="chunk")
    assert caught.value.parameter == "on_overflow"


def test_the_longest_text_accepted(checkpoint, load):
    llm = load(checkpoint, pooler_config={"enable_chunked_processing": True, "max_embed_len": 151})
    message = (
        r"This model's maximum embedding input length is 151 tokens\. However, you requested 152 tokens in the input "
        r"for embedding generation\. Please reduce the length of the input"
    )
    with pytest.raises(InvalidInputError, match=message):
        llm.embed(LONG)
    assert llm.embed(LONG.rpartition(" mill")[0])[0].num_prompt_tokens == 151
    with pytest.raises(
        InvalidInputError, match=r"maximum embedding input length is 151 tokens.*contains 40000 characters"
    ):
        llm.embed("a" * 40_000)


def test_the_longest_text_accepted_may_be_shorter_than_the_model_reads(checkpoint, load):
    llm = load(checkpoint, pooler_config={"max_embed_len": 10})
    assert llm.embed([5] * 10)[0].num_prompt_tokens == 10
    with pytest.raises(InvalidInputError, match=r"maximum embedding input length is 10 tokens.*requested 11 tokens"):
        llm.embed([5] * 11)
    assert llm.embed([5] * 11, truncate_prompt_tokens=-1)[0].num_prompt_tokens == 10
    assert llm.encode([5] * 11, pooling_task="token_embed")[0].num_prompt_tokens == 11


def test_megabytes_are_merged_as_well(tiny_bert):
    (output,) = tiny_bert.embed("cat " * 50_000, on_overflow="chunk")
    assert output.num_prompt_tokens == 50_002
    assert abs(np.linalg.norm(output.outputs.array) - 1) <= 1e-6


# --- cut from the side that the tokenizer says ------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, "left", "right"])
@pytest.mark.parametrize("direction", [None, "left", "right"])
def test_a_text_is_cut_from_the_side_that_the_tokenizer_says(checkpoint, load, config, direction):
    say_side(checkpoint, config, direction)
    text = "the old dog was on a high hill in the rain"
    reference = importlib.import_module("transformers").AutoTokenizer.from_pretrained(str(checkpoint))
    expected = reference(text, truncation=True, max_length=7)["input_ids"]
    llm = load(checkpoint)
    assert llm.embed(text, truncate_prompt_tokens=7)[0].prompt_token_ids == expected
    own = reference(text)["input_ids"]
    cut = own[-7:] if reference.truncation_side == "left" else own[:7]
    assert llm.embed([own], truncate_prompt_tokens=7)[0].prompt_token_ids == cut


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_that_a_call_says_counts_more_than_the_tokenizers(checkpoint, load, side):
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
    said = {} if config is None else {"truncation_side": config}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **said}), encoding="utf-8")
    if direction is not None:
        made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        made.enable_truncation(max_length=50, direction=direction)
        made.save(str(folder / "tokenizer.json"))
