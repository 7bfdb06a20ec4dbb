"""``LLM.classify`` of pairs of texts: several classes, as the CrossEncoder of sentence-transformers gives them."""

import numpy as np
import pytest

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny

PAIRS = [("the cat sat on the mill", "a cat is there"), ("rain", "no rain, and snow over the river"), ("a", "a")]
LABELS = 3


@pytest.fixture
def llm(tmp_path, load):
    return load(tiny("BertForSequenceClassification", tmp_path / "nli", num_labels=LABELS))


def given(pairs):
    return [{"text": first, "text_pair": second} for first, second in pairs]


def test_they_equal_theirs(tmp_path, llm, sentence_transformers):
    theirs = sentence_transformers.CrossEncoder(str(tmp_path / "nli"), device="cpu")
    expected = np.asarray(theirs.predict(PAIRS, apply_softmax=True, show_progress_bar=False))
    found = np.stack([output.outputs.array for output in llm.classify(given(PAIRS), use_tqdm=False)])
    assert found.shape == (len(PAIRS), LABELS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    bare = llm.classify(given(PAIRS), pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    logits = np.asarray(theirs.predict(PAIRS, activation_fn=lambda x: x, show_progress_bar=False))
    np.testing.assert_allclose(np.stack([output.outputs.array for output in bare]), logits, atol=1e-5)


def test_they_may_stand_among_texts(llm):
    mixed = [given(PAIRS)[0], "rain", given(PAIRS)[1], [5, 6, 7]]
    together = llm.classify(mixed, use_tqdm=False)
    for output, prompt in zip(together, mixed, strict=True):
        np.testing.assert_allclose(
            output.outputs.array, llm.classify([prompt], use_tqdm=False)[0].outputs.array, atol=1e-6
        )
    types = llm.get_tokenizer()(*PAIRS[0])
    assert together[0].prompt_token_ids == types["input_ids"]


def test_one_that_is_too_long_is_cut_on_request(llm):
    pair = given([("mill " * 40, "river " * 40)])
    with pytest.raises(InvalidInputError, match="maximum context length is 64 tokens"):
        llm.classify(pair, use_tqdm=False)
    (output,) = llm.classify(pair, truncate_prompt_tokens=-1, use_tqdm=False)
    assert (output.num_prompt_tokens, output.truncated) == (64, True)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"text": "a", "text_pair": 3}, "text and text_pair must be str; got str and int"),
        ({"text_pair": "a"}, r"a pair of texts is .* got the keys \['text_pair'\]"),
        ({"text": "a", "text_pair": "b", "prompt": "c"}, "got the keys"),
        ({"text": "\ud800", "text_pair": "b"}, "lone surrogate"),
    ],
    ids=str,
)
def test_other_forms_are_refused(llm, pair, message):
    with pytest.raises(InvalidInputError, match=message):
        llm.classify([pair], use_tqdm=False)


def test_tokens_have_no_pairs(llm):
    with pytest.raises(InvalidInputError, match="for the task 'classify'"):
        llm.encode(given(PAIRS), pooling_task="token_classify", use_tqdm=False)
    with pytest.raises(InvalidInputError, match="input_type='query' is for vectors"):
        llm.classify("a", input_type="query", use_tqdm=False)
