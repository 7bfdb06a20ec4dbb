"""``embed``, ``encode`` and ``embed_chunks`` return an output per prompt, or a clear error, for any input."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, write_sentence_transformers

EXAMPLES = settings(
    max_examples=120, deadline=timedelta(minutes=1), suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
TEXT = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(codec=None), max_size=20),  # lone surrogates too
    st.sampled_from(
        ["", " ", "\x00", "\ud800", "the cat was on a mill " * 30, "\u0130" * 80, "a" * 40_000, "[CLS][MASK]"]
    ),
)
NUMBER = st.one_of(st.integers(-5, 250), st.sampled_from([2**31, 2**63, 2**70, -1, True, 1.0, np.int32(7)]))
IDS = st.one_of(st.lists(st.integers(0, 181), max_size=150), st.lists(NUMBER, max_size=6))
JUNK = st.one_of(st.none(), NUMBER, st.binary(max_size=4), st.just(object()), st.floats(), st.just({1, 2}))
PROMPT = st.one_of(
    TEXT,
    IDS,
    IDS.map(lambda ids: {"prompt_token_ids": ids}),
    TEXT.map(lambda text: {"prompt": text}),
    st.dictionaries(st.sampled_from(["prompt", "prompt_token_ids", "data", "multi_modal_data", "x"]), JUNK, max_size=3),
    JUNK,
)
PROMPTS = st.one_of(PROMPT, st.lists(PROMPT, max_size=4))
VALUES = {
    "truncate_prompt_tokens": st.one_of(st.none(), st.integers(-3, 70), JUNK),
    "on_overflow": st.sampled_from([None, "error", "truncate", "chunk", "cut", 5]),
    "prompt": st.one_of(st.none(), st.sampled_from(["", "the ", "old " * 80, "\ud800"]), JUNK),
    "prompt_name": st.sampled_from([None, "", "query", "querry", 5]),
    "on_error": st.sampled_from(["raise", "return", "skip"]),
}
OPTIONS = st.fixed_dictionaries({}, optional=VALUES)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        **{name: values for name, values in VALUES.items() if name != "on_error"},
        "dimensions": st.one_of(st.none(), st.integers(-1, 40), JUNK),
        "use_activation": st.sampled_from([None, True, False, "maybe"]),
        "truncation_side": st.sampled_from([None, "left", "right", "up"]),
        "step_tag_id": st.sampled_from([None, 3]),
    },
)
SPAN = st.one_of(st.tuples(st.integers(-2, 70), st.integers(-2, 70)), st.tuples(NUMBER, NUMBER), JUNK)
SPANS = st.one_of(st.lists(SPAN, max_size=4), st.lists(st.lists(SPAN, max_size=3), max_size=3), JUNK)
CHUNKING = st.fixed_dictionaries(
    {},
    optional={
        "spans": SPANS,
        "chunk_tokens": st.one_of(st.none(), st.integers(-1, 80), JUNK),
        "overlap": st.one_of(st.integers(-1, 10), JUNK),
        "method": st.sampled_from(["late", "naive", "early", None]),
    },
)


@pytest.fixture(scope="module", params=[True, False], ids=["prompts pooled", "prompts left out"])
def llm(tmp_path_factory, request):
    """A model with prompts that may be cut to any number of dimensions."""
    folder = tiny("BertModel", tmp_path_factory.mktemp("any") / "bert")
    write_sentence_transformers(folder, prompts={"query": "the query is "})
    if not request.param:
        path = folder / "1_Pooling" / "config.json"
        path.write_text(path.read_text().replace('"include_prompt": true', '"include_prompt": false'))
    with LLM(str(folder), num_workers=1, hf_overrides={"is_matryoshka": True}) as llm:
        assert llm.model_config.prompting.include_prompt is request.param
        yield llm


def params_of(fields):
    """The parameters, or None if they cannot be built."""
    try:
        return PoolingParams(**fields)
    except ValidationError:
        return None


def ends_well(call, prompts):
    """Call a method: it returns an output per prompt or raises InvalidInputError, and no other error."""
    try:
        outputs = call()
    except InvalidInputError:
        return
    assert len(outputs) == (len(prompts) if is_several(prompts) else 1)
    for output in outputs:
        assert (output.outputs is None) == (output.error is not None)
        if output.error is not None:
            assert isinstance(output.error, InvalidInputError)
        else:
            assert np.isfinite(output.outputs.array).all()
            assert output.num_prompt_tokens > 0


def is_several(prompts):
    return isinstance(prompts, list | set) and not (
        prompts and isinstance(next(iter(prompts)), int | np.integer) and (not isinstance(next(iter(prompts)), bool))
    )


@EXAMPLES
@given(prompts=PROMPTS, options=OPTIONS, fields=FIELDS)
def test_embed(llm, prompts, options, fields):
    ends_well(lambda: llm.embed(prompts, pooling_params=params_of(fields), use_tqdm=False, **options), prompts)


@EXAMPLES
@given(
    prompts=PROMPTS,
    options=OPTIONS,
    fields=FIELDS,
    task=st.sampled_from(["embed", "token_embed", "embed_chunks", "classify", "nonsense", None, 5]),
)
def test_encode(llm, prompts, options, fields, task):
    params = params_of(fields)
    ends_well(lambda: llm.encode(prompts, params, pooling_task=task, use_tqdm=False, **options), prompts)


@EXAMPLES
@given(prompts=PROMPTS, options=OPTIONS, fields=FIELDS, chunking=CHUNKING)
def test_embed_chunks(llm, prompts, options, fields, chunking):
    params = params_of(fields)
    ends_well(lambda: llm.embed_chunks(prompts, pooling_params=params, use_tqdm=False, **chunking, **options), prompts)


@EXAMPLES
@given(text=st.text(min_size=1, max_size=200), size=st.integers(1, 12), overlap=st.integers(0, 11))
def test_chunks_of_tokens_hold_every_word(llm, text, size, overlap):
    sizes = {"chunk_tokens": size, "overlap": min(overlap, size - 1)}
    (output,) = llm.embed_chunks(text, **sizes, use_tqdm=False, on_error="return")
    if output.error is not None:
        assert "no tokens" in str(output.error)
        return
    spans = output.outputs.spans
    held = {index for start, stop in spans for index in range(start, stop)}
    words = {index for index, character in enumerate(text) if character.isalnum() and character.isascii()}
    assert words <= held
    assert spans == tuple(sorted(spans))
    assert [chunk.text for chunk in output.outputs] == [text[start:stop] for start, stop in spans]
