"""``score`` returns a score for each pair or raises InvalidInputError for any input, without long delays."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_io.scoring.score_inputs import ScoreInputs
from millpond_io.scoring.tokenizer_pairs import longest_first, truncate_pair

MANY_TEXTS = settings(max_examples=60, deadline=None)
WORDS = st.sampled_from(
    ["cat", "the river", "a", "", " \n", "[SEP]", "\uff26\uff35", "é" * 30, "zzzz" * 20, "\ud800", "dog " * 90]
)
TEXTS = WORDS | st.text(st.characters(), max_size=12)
PARTS = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"])}, optional={"text": TEXTS | st.none()})
ITEMS = (
    TEXTS
    | st.fixed_dictionaries({"text": TEXTS})
    | st.fixed_dictionaries({"content": TEXTS | st.lists(PARTS | TEXTS, max_size=3)})
)
ODD = st.none() | st.integers() | st.binary(max_size=3) | st.dictionaries(TEXTS, TEXTS, max_size=2)
SIDES = ITEMS | st.lists(ITEMS | ODD, max_size=4) | ODD
TEMPLATES = st.sampled_from(
    [
        "{{ messages }}",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ messages[2].content.x }}",
        "{{ n * 3 }}{{ messages[0].content | tojson }}",
        "{% if %}",
        "{% for i in range(999999999) %}{% endfor %}",
        "none.jinja",
        "",
        "x",
    ]
)
FEW_TEXTS = st.integers(1, 60)
COUNTS = FEW_TEXTS | FEW_TEXTS | FEW_TEXTS | st.none() | st.integers(-2, 80) | st.booleans() | st.floats() | TEXTS
CALLS = st.tuples(TEXTS, st.lists(ITEMS, min_size=1, max_size=4)) | st.tuples(ITEMS, ITEMS) | st.tuples(SIDES, SIDES)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "chat_template": TEMPLATES,
        "chat_template_kwargs": st.dictionaries(st.sampled_from(["n", "m", "prompt"]), TEXTS | ODD, max_size=1),
        "instruction": TEXTS | st.integers(),
        "max_tokens_per_query": COUNTS,
        "max_tokens_per_doc": COUNTS,
        "truncate_prompt_tokens": FEW_TEXTS | st.integers(-2, 80),
        "on_overflow": st.sampled_from([None, "error", "truncate", "truncate", "chunk"]),
        "prompt": TEXTS,
    },
)
OVERRIDES = {
    "cosine": {},
    "late": {"pooler_config": {"task": "token_embed"}},
    "pairs": {},
    "end to end": {"hf_overrides": {"use_sep_token": False}},
}


@pytest.fixture(scope="module", params=OVERRIDES)
def llm(request, tmp_path_factory):
    reads_pairs = request.param in ("pairs", "end to end")
    architecture = "BertForSequenceClassification" if reads_pairs else "BertModel"
    folder = tiny(architecture, tmp_path_factory.mktemp("any") / "model", num_labels=1)
    with LLM(str(folder), num_workers=1, **OVERRIDES[request.param]) as loaded:
        yield loaded


def answer(llm, *texts, **asked) -> list:
    """The outputs; none where the whole call is refused."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*has no effect", category=UserWarning)
        try:
            return llm.score(*texts, **asked)
        except InvalidInputError:
            return []


@MANY_TEXTS
@given(texts=CALLS, asked=ASKED)
@example(texts=("", "the river"), asked={"on_overflow": "chunk", "prompt": 80 * "z"})
def test_any_call_returns_scores_or_an_error_with_the_reason(llm, texts, asked):
    for output in answer(llm, *texts, on_error="return", **asked):
        if output.error is not None:
            assert isinstance(output.error, InvalidInputError)
            continue
        assert np.isfinite(output.outputs.score)
        assert output.num_prompt_tokens >= 1
        if asked.get("on_overflow") != "chunk":  # else a text of any length is read in pieces
            assert output.num_prompt_tokens <= 2 * 64 + 1


@MANY_TEXTS
@given(extra=st.dictionaries(TEXTS | st.sampled_from(["instruction", "chat_template"]), ODD | TEXTS, max_size=3))
def test_any_extra_parameters(llm, extra):
    params = PoolingParams(extra_kwargs=json.loads(json.dumps(extra, default=str)))
    for output in answer(llm, "cat", "dog", pooling_params=params):
        assert np.isfinite(output.outputs.score)


@MANY_TEXTS
@given(queries=SIDES, documents=SIDES)
def test_sides_are_as_many_texts_or_one_query(queries, documents):
    try:
        left, right = ScoreInputs("BertModel").read(queries, documents)
    except InvalidInputError:
        return
    assert len(left) in {1, len(right)}
    assert right
    assert all(type(text) is str for text in [*left, *right])


@MANY_TEXTS
@given(first=st.integers(0, 300), second=st.integers(0, 300), room=st.integers(0, 400))
def test_shares_are_those_of_the_tokenizers_library(first, second, room, cutter):
    kept = longest_first(first, second, room)
    assert sum(kept) == min(first + second, room)
    assert kept == cutter(first, second, room)


@pytest.fixture(scope="module")
def cutter(tmp_path_factory):
    import tokenizers

    folder = tiny("BertModel", tmp_path_factory.mktemp("cutter") / "model")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def cut(first: int, second: int, room: int) -> tuple[int, int]:
        tokenizer.enable_truncation(room, strategy="longest_first")
        owners = tokenizer.encode("a " * first, "a " * second, add_special_tokens=False).sequence_ids
        return owners.count(0), owners.count(1)

    return cut


@MANY_TEXTS
@given(first=st.integers(0, 5), second=st.integers(0, 5), kept=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_truncation_keeps_special_tokens_and_token_types(first, second, kept, tmp_path_factory):
    encoding = _encoder(tmp_path_factory).encode("the " * first, "a " * second)
    for side in ("left", "right"):
        cut = truncate_pair(encoding, kept, side=side, segments=2)
        left, right = min(first, kept[0]), min(second, kept[1])
        assert cut.token_type_ids == [0] * (left + 2) + [1] * (right + 1)
        assert len(cut.input_ids) == left + right + 3
        assert cut.num_dropped_tokens == first + second - left - right


def _encoder(factory, cache=[]):  # noqa: B006  built once
    import tokenizers

    if not cache:
        folder = tiny("BertModel", factory.mktemp("encoder") / "model")
        cache.append(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
    return cache[0]
