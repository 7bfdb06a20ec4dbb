"""Late chunking: the tokens of each chunk are pooled after the model read the whole text (arXiv 2409.04701)."""

import asyncio
import json

import numpy as np
import pytest

from millpond import AsyncLLM, ChunkEmbedding, ChunksOutput, ChunksRequestOutput, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers

TEXT = "the old cat, the mill. we go to town! one boat"
SPANS = [(0, 12), (13, 22), (23, 37), (38, 46)]  # 4, 3, 5 and 2 tokens between [CLS] and [SEP]
TOKENS = [(0, 5), (5, 8), (8, 13), (13, 16)]  # those of each, [CLS] with the first and [SEP] with the last
LONG_TEXT = "the cat was on a mill " * 25  # 150 tokens
POOLED = {
    "CLS": lambda rows, _: rows[0],
    "LAST": lambda rows, _: rows[-1],
    "MEAN": lambda rows, _: rows.mean(axis=0),
    "MAX": lambda rows, _: rows.max(axis=0),
    "MEAN_SQRT_LEN": lambda rows, _: rows.sum(axis=0) / len(rows) ** 0.5,
    "WEIGHTED_MEAN": lambda rows, start: np.average(rows, axis=0, weights=np.arange(len(rows)) + start + 1),
}


def unit(vector):
    return vector / np.linalg.norm(vector)


def chunks(llm, text, **options):
    (output,) = llm.embed_chunks(text, use_tqdm=False, **options)
    return output.outputs


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# --- late -------------------------------------------------------------------------------------------------------------


def test_a_chunk_is_the_mean_of_its_tokens_in_the_whole_text(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(TEXT, spans=SPANS)
    states = hidden_states(output.prompt_token_ids)
    assert len(states) == 16
    expected = np.stack([unit(states[start:stop].mean(axis=0)) for start, stop in TOKENS])
    assert np.abs(output.outputs.array - expected).max() <= 1e-6
    assert [(chunk.start, chunk.end) for chunk in output.outputs] == SPANS
    assert [chunk.text for chunk in output.outputs] == ["the old cat,", "the mill.", "we go to town!", "one boat"]


@pytest.mark.parametrize("use_activation", [True, False])
@pytest.mark.parametrize("method", POOLED)
def test_chunks_are_pooled_like_texts(checkpoint, load, hidden_states, method, use_activation):
    llm = load(checkpoint, pooler_config={"pooling_type": method, "use_activation": use_activation})
    states = hidden_states(llm.embed(TEXT)[0].prompt_token_ids)
    expected = np.stack([POOLED[method](states[start:stop], start) for start, stop in TOKENS])
    if use_activation:
        expected = np.stack([unit(row) for row in expected])
    assert np.abs(chunks(llm, TEXT, spans=SPANS).array - expected).max() <= 1e-5


@pytest.mark.parametrize("options", [{}, {"prompt": "on the "}, {"prompt_name": "query"}], ids=str)
@pytest.mark.parametrize("include_prompt", [True, False])
def test_a_chunk_that_is_the_whole_text_is_its_embedding(checkpoint, load, options, include_prompt):
    dense = [DenseLayer(in_features=64, out_features=20), DenseLayer(in_features=20, out_features=24)]
    write_sentence_transformers(checkpoint, pooling=["mean", "max"], dense=dense, prompts={"query": "the query is "})
    change(checkpoint / "1_Pooling" / "config.json", include_prompt=include_prompt)
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True})
    for params in (None, PoolingParams(dimensions=7), PoolingParams(use_activation=False)):
        (whole,) = llm.embed(TEXT, pooling_params=params, **options)
        for cut in ({"spans": [(0, len(TEXT))]}, {"chunk_tokens": 1000}):
            chunked = chunks(llm, TEXT, pooling_params=params, **cut, **options)
            assert chunked.array.shape == (1, *whole.outputs.array.shape)
            assert np.abs(chunked.array[0] - whole.outputs.array).max() <= 1e-6


def test_a_prompt_belongs_to_the_first_chunk(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(TEXT, spans=SPANS, prompt="a dog: ")
    states = hidden_states(output.prompt_token_ids)
    assert len(states) == 19
    shifted = [(0, 8), *((start + 3, stop + 3) for start, stop in TOKENS[1:])]
    expected = np.stack([unit(states[start:stop].mean(axis=0)) for start, stop in shifted])
    assert np.abs(output.outputs.array - expected).max() <= 1e-6
    assert [chunk.text for chunk in output.outputs] == ["the old cat,", "the mill.", "we go to town!", "one boat"]


def test_chunks_that_are_neither_first_nor_last_have_no_special_tokens(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(TEXT, spans=[(13, 22), (4, 16), (13, 22)])
    states = hidden_states(output.prompt_token_ids)
    expected = np.stack([unit(states[start:stop].mean(axis=0)) for start, stop in [(5, 8), (2, 6), (5, 8)]])
    assert np.abs(output.outputs.array - expected).max() <= 1e-6


@pytest.mark.parametrize("method", ["late", "naive"])
def test_a_text_can_omit_special_tokens(tiny_bert, method):
    plain = {"prompt": TEXT, "add_special_tokens": False}
    (output,) = tiny_bert.embed_chunks(plain, spans=[(0, len(TEXT))], method=method)
    (embedded,) = tiny_bert.embed(plain)
    assert output.prompt_token_ids == embedded.prompt_token_ids
    assert len(output.prompt_token_ids) == 14
    assert np.abs(output.outputs.array[0] - embedded.outputs.array).max() <= 1e-6


def test_chunks_of_tokens(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(TEXT, chunk_tokens=6, overlap=2)
    states = hidden_states(output.prompt_token_ids)
    expected = np.stack([unit(states[start:stop].mean(axis=0)) for start, stop in [(0, 7), (5, 11), (9, 16)]])
    assert np.abs(output.outputs.array - expected).max() <= 1e-6
    assert [chunk.text for chunk in output.outputs] == [
        "the old cat, the mill",
        "the mill. we go to",
        "go to town! one boat",
    ]


def test_characters_that_become_two_in_lower_case_shift_no_offsets(checkpoint, load):
    write_sentence_transformers(checkpoint, max_seq_length=64, do_lower_case=True)
    text = "\u0130\u0130\u0130 the Cat was HERE. the Boat"
    chunked = chunks(load(checkpoint), text, spans=[(0, 3), (4, 11), (22, 30)])
    assert [chunk.text for chunk in chunked] == ["\u0130\u0130\u0130", "the Cat", "the Boat"]
    plain = chunks(load(checkpoint), text.lower(), spans=[(0, 6), (7, 14), (25, 33)])
    assert np.abs(chunked.array - plain.array).max() <= 1e-6


def test_decoders_are_chunked_too(tmp_path, load):
    llm = load(tiny("Qwen3Model", tmp_path), pooler_config={"pooling_type": "LAST"})
    states = llm.encode(TEXT, pooling_task="token_embed")[0].outputs.array  # normalized, as the last of each is
    chunked = chunks(llm, TEXT, spans=SPANS)
    assert np.abs(chunked.array - states[[stop - 1 for _, stop in TOKENS]]).max() <= 1e-5


# --- longer than the model reads --------------------------------------------------------------------------------------


def test_a_long_text_is_read_in_windows_each_with_its_special_tokens(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(LONG_TEXT, chunk_tokens=30)
    ids = output.prompt_token_ids
    assert len(ids) == 152
    assert output.num_dropped_tokens == 0
    # 62 tokens of text a window, from every 31st; the chunks are tokens 0-30, 30-60, 60-90, 90-120, 120-150.
    windows = [(0, 62), (0, 62), (31, 93), (62, 124), (88, 150)]
    for number, (vector, (start, stop)) in enumerate(zip(output.outputs.array, windows, strict=True)):
        read = [ids[0], *ids[1 + start : 1 + stop], ids[-1]]
        first, last = 1 + 30 * number - start, 1 + 30 * (number + 1) - start
        first, last = (0 if number == 0 else first), (64 if number == 4 else last)
        assert np.abs(vector - unit(hidden_states(read)[first:last].mean(axis=0))).max() <= 1e-6


def test_a_chunk_that_fits_no_window_has_its_own(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(LONG_TEXT, chunk_tokens=61)
    ids = output.prompt_token_ids
    read = [ids[0], *ids[1 + 61 : 1 + 61 + 62], ids[-1]]  # tokens 61 to 122, and the one behind them
    expected = unit(hidden_states(read)[1:62].mean(axis=0))
    assert np.abs(output.outputs.array[1] - expected).max() <= 1e-6


def test_a_chunk_longer_than_the_model_reads_is_refused(tiny_bert):
    message = (
        r"^prompt 1: chunk 1, the characters \(4, 549\), has 149 tokens; the model reads at most 62 in addition to"
    )
    with pytest.raises(InvalidInputError, match=message) as caught:
        tiny_bert.embed_chunks([TEXT, LONG_TEXT], spans=[SPANS, [(0, 3), (4, len(LONG_TEXT.rstrip()))]])
    assert caught.value.parameter == "spans"


def test_a_prompt_precedes_every_window(tiny_bert, hidden_states):
    (output,) = tiny_bert.embed_chunks(LONG_TEXT, chunk_tokens=30, prompt="a dog: ")
    ids = output.prompt_token_ids
    read = [*ids[:4], *ids[4 + 88 + 3 : 4 + 150], ids[-1]]  # 59 tokens of the text
    assert len(read) == 64
    assert np.abs(output.outputs.array[4] - unit(hidden_states(read)[33:].mean(axis=0))).max() <= 1e-6
    with pytest.raises(
        InvalidInputError, match="the model reads at most 0 in addition to special tokens and the prompt"
    ):
        tiny_bert.embed_chunks("cat", chunk_tokens=3, prompt="dog " * 62)


def test_a_call_can_omit_special_tokens(tiny_bert):
    options = {"add_special_tokens": False}
    (asked,) = tiny_bert.embed_chunks(TEXT, spans=SPANS, tokenization_kwargs=options)
    (expected,) = tiny_bert.embed_chunks({"prompt": TEXT, **options}, spans=SPANS)
    assert asked.prompt_token_ids == expected.prompt_token_ids
    assert len(asked.prompt_token_ids) == 14
    assert np.abs(asked.outputs.array - expected.outputs.array).max() <= 1e-6


def test_padding_is_refused_with_late_chunking(tiny_bert):
    with pytest.raises(InvalidInputError, match="pass method='naive'") as caught:
        tiny_bert.embed_chunks(TEXT, spans=SPANS, tokenization_kwargs={"padding": "max_length"})
    assert caught.value.parameter == "padding"


def test_a_long_text_is_refused_on_request(tiny_bert, checkpoint, load):
    with pytest.raises(InvalidInputError, match="maximum context length is 64 tokens"):
        tiny_bert.embed_chunks(LONG_TEXT, chunk_tokens=30, on_overflow="error")
    limited = load(checkpoint, pooler_config={"max_embed_len": 100})
    with pytest.raises(InvalidInputError, match=r"maximum embedding input length is 100 tokens.*152 tokens"):
        limited.embed_chunks(LONG_TEXT, chunk_tokens=30)


@pytest.mark.parametrize("options", [{"on_overflow": "truncate"}, {"truncate_prompt_tokens": -1}], ids=str)
def test_truncation_is_refused(tiny_bert, options):
    ((name, _),) = options.items()
    with pytest.raises(InvalidInputError, match="embed_chunks does not truncate texts") as caught:
        tiny_bert.embed_chunks(TEXT, chunk_tokens=4, **options)
    assert caught.value.parameter == name


# --- naive ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"prompt": "on the "}], ids=str)
def test_naive_chunks_are_separate_texts(tiny_bert, options):
    (output,) = tiny_bert.embed_chunks(TEXT, spans=SPANS, method="naive", **options)
    alone = tiny_bert.embed([TEXT[start:stop] for start, stop in SPANS], **options)
    expected = np.stack([one.outputs.array for one in alone])
    assert np.abs(output.outputs.array - expected).max() <= 1e-6
    assert output.prompt_token_ids == [token for one in alone for token in one.prompt_token_ids]
    assert np.abs(chunks(tiny_bert, TEXT, spans=SPANS).array - expected).max() > 1e-3


def test_a_naive_chunk_can_be_embedded_in_pieces(tiny_bert, checkpoint, load):
    cut = {"spans": [(0, 3), (4, len(LONG_TEXT))], "method": "naive"}
    for llm in (tiny_bert, load(checkpoint, on_overflow="truncate")):
        with pytest.raises(
            InvalidInputError, match=r"prompt 0: chunk 1, .*: This model's maximum context length is 64"
        ):
            llm.embed_chunks(LONG_TEXT, **cut)
    chunked = chunks(tiny_bert, LONG_TEXT, on_overflow="chunk", **cut)
    (expected,) = tiny_bert.embed(LONG_TEXT[4:], on_overflow="chunk")
    assert np.abs(chunked.array[1] - expected.outputs.array).max() <= 1e-6


# --- calls ------------------------------------------------------------------------------------------------------------


def test_each_text_has_its_own_output(tiny_bert):
    texts = [TEXT, {"prompt": "the cat"}, LONG_TEXT]
    outputs = tiny_bert.embed_chunks(texts, spans=[SPANS, [(0, 3)], [[0, 22], np.array([22, 44])]])
    assert all(isinstance(output, ChunksRequestOutput) for output in outputs)
    assert [len(output.outputs) for output in outputs] == [4, 1, 2]
    for output, text in zip(outputs, texts, strict=True):
        alone = chunks(tiny_bert, text, spans=output.outputs.spans)
        assert np.abs(alone.array - output.outputs.array).max() <= 1e-6
    assert len({output.request_id for output in outputs}) == 3


def test_async_calls_return_the_same(tiny_folder, tiny_bert):
    async def main():
        async with AsyncLLM(str(tiny_folder), num_workers=1, pooler_config={"pooling_type": "MEAN"}) as llm:
            return await llm.embed_chunks([TEXT, LONG_TEXT], chunk_tokens=20, overlap=5)

    for output, twin in zip(
        asyncio.run(main()), tiny_bert.embed_chunks([TEXT, LONG_TEXT], chunk_tokens=20, overlap=5), strict=True
    ):
        assert output.outputs.spans == twin.outputs.spans
        np.testing.assert_allclose(output.outputs.array, twin.outputs.array, atol=1e-6, rtol=0)


def test_an_output_has_the_characters_of_its_chunks(tiny_bert):
    output = chunks(tiny_bert, TEXT, spans=SPANS)
    assert isinstance(output, ChunksOutput)
    assert repr(output) == "ChunksOutput(num_chunks=4, hidden_size=32)"
    assert isinstance(output[1], ChunkEmbedding)
    assert repr(output[1]) == "ChunkEmbedding(start=13, end=22, hidden_size=32)"
    assert output[1].embedding == output.array[1].tolist()
    assert [chunk.hidden_size for chunk in output] == [32] * 4
    with pytest.raises(IndexError):
        output[4]


def test_an_invalid_text_affects_no_other(tiny_bert):
    texts, spans = [TEXT, "", TEXT, TEXT], [SPANS, [(0, 1)], [(12, 13)], [(0, 99)]]
    outputs = tiny_bert.embed_chunks(texts, spans=spans, on_error="return")
    assert [None if output.error is None else str(output.error) for output in outputs] == [
        None,
        "prompt 1: the text is empty: pass at least one character, or leave the prompt out",
        "prompt 2: spans[0] = (12, 13) contains no token: its text is ' '",
        "prompt 3: spans[0] = (0, 99): expected 0 <= start < stop <= 46, the text's characters",
    ]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "options", "parameter", "message"),
    [
        (TEXT, {}, "chunk_tokens", r"takes spans=\[\(start, stop\), ...\].* or chunk_tokens=N.*; got neither"),
        (TEXT, {"spans": SPANS, "chunk_tokens": 5}, "spans", "got both"),
        (TEXT, {"chunk_tokens": 0}, "chunk_tokens", "chunk_tokens=0: expected a number of tokens of at least 1"),
        (TEXT, {"chunk_tokens": "5"}, "chunk_tokens", "chunk_tokens='5': expected"),
        (TEXT, {"chunk_tokens": 5.0}, "chunk_tokens", "chunk_tokens=5.0: expected"),
        (TEXT, {"chunk_tokens": 5, "overlap": 5}, "overlap", "overlap=5: expected a number of tokens, from 0 to 4"),
        (TEXT, {"chunk_tokens": 5, "overlap": -1}, "overlap", "overlap=-1: expected"),
        (TEXT, {"chunk_tokens": 5, "overlap": None}, "overlap", "overlap=None: expected"),
        (
            TEXT,
            {"spans": SPANS, "overlap": 1},
            "overlap",
            "overlap=1: expected a number of tokens, 0, because spans determine",
        ),
        (TEXT, {"chunk_tokens": 5, "method": "early"}, "method", "method='early': expected one of 'late', 'naive'"),
        (TEXT, {"spans": []}, "spans", "non-empty list of .*got an empty list"),
        (TEXT, {"spans": "0-5"}, "spans", "spans must be a non-empty list of .*; got '0-5'"),
        (TEXT, {"spans": 5}, "spans", "spans must be a non-empty list of .*; got 5"),
        (TEXT, {"spans": [5]}, "spans", r"spans\[0\] = 5: expected \(start, stop\)"),
        (TEXT, {"spans": [(0, 3), (1, 2, 3)]}, "spans", r"spans\[1\] = \(1, 2, 3\): expected \(start, stop\)"),
        (TEXT, {"spans": [(0.0, 3)]}, "spans", r"spans\[0\] = \(0.0, 3\): expected \(start, stop\)"),
        (TEXT, {"spans": [(3, 3)]}, "spans", r"spans\[0\] = \(3, 3\): expected 0 <= start < stop <= 46"),
        (TEXT, {"spans": [(-3, 3)]}, "spans", r"spans\[0\] = \(-3, 3\): expected 0 <= start"),
        ([TEXT], {"spans": SPANS}, "spans", "one list of .* in spans: 1 texts, 4 lists"),
        ([TEXT, TEXT], {"spans": 5}, "spans", "2 texts, int lists"),
        ([5, 6], {"chunk_tokens": 5}, "prompts", "embed_chunks takes texts, .*; these are token ids"),
        ([], {"chunk_tokens": 5}, "prompts", "the list is empty"),
        ({"messages": [{"role": "user", "content": "a"}]}, {"chunk_tokens": 5}, "messages", "these are messages"),
        (" ", {"chunk_tokens": 5}, "prompts", "the text has no tokens: there is nothing to split into chunks"),
        (TEXT, {"chunk_tokens": 5, "on_overflow": "cut"}, "on_overflow", "on_overflow='cut'"),
    ],
)
def test_invalid_input_is_named(tiny_bert, texts, options, parameter, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        tiny_bert.embed_chunks(texts, **options)
    assert caught.value.parameter == parameter


def test_the_task_requires_its_method(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"requires LLM\.embed_chunks"):
        tiny_bert.encode(TEXT, pooling_task="embed_chunks")
