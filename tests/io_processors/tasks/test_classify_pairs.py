"""``LLM.classify`` of pairs of texts: several classes, equal to the CrossEncoder of sentence-transformers."""

import importlib

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


def test_pairs_equal_sentence_transformers(tmp_path, llm, sentence_transformers):
    theirs = sentence_transformers.CrossEncoder(str(tmp_path / "nli"), device="cpu")
    expected = np.asarray(theirs.predict(PAIRS, apply_softmax=True, show_progress_bar=False))
    probs = np.stack([output.outputs.array for output in llm.classify(given(PAIRS), use_tqdm=False)])
    assert probs.shape == (len(PAIRS), LABELS)
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    bare = llm.classify(given(PAIRS), pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    logits = np.asarray(theirs.predict(PAIRS, activation_fn=lambda x: x, show_progress_bar=False))
    np.testing.assert_allclose(np.stack([output.outputs.array for output in bare]), logits, atol=1e-5)


def test_pairs_can_be_mixed_with_texts(llm):
    mixed = [given(PAIRS)[0], "rain", given(PAIRS)[1], [5, 6, 7]]
    together = llm.classify(mixed, use_tqdm=False)
    for output, prompt in zip(together, mixed, strict=True):
        np.testing.assert_allclose(
            output.outputs.array, llm.classify([prompt], use_tqdm=False)[0].outputs.array, atol=1e-6
        )
    types = llm.get_tokenizer()(*PAIRS[0])
    assert together[0].prompt_token_ids == types["input_ids"]


def test_a_long_pair_is_truncated_on_request(llm):
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
        (("a", "b", "c"), r"a pair of texts is \(str, str\) or .* got 3 items"),
        (("a", None), "a pair of texts is .* got str and NoneType"),
        (("a", 5), "text and text_pair must be str; got str and int"),
        ({"text": "a", "text_pair": "b", "prompt": "c"}, "got the keys"),
        ({"text": "\ud800", "text_pair": "b"}, "lone surrogate"),
    ],
    ids=str,
)
def test_other_forms_are_refused(llm, pair, message):
    with pytest.raises(InvalidInputError, match=message):
        llm.classify([pair], use_tqdm=False)


def test_token_classification_refuses_pairs(llm):
    with pytest.raises(InvalidInputError, match="for the task 'classify'"):
        llm.encode(given(PAIRS), pooling_task="token_classify", use_tqdm=False)
    with pytest.raises(InvalidInputError, match="Unknown option 'input_type' of the task 'classify'"):
        llm.classify("a", input_type="query", use_tqdm=False)


def logits_of(folder, prompts, **settings):
    """Return the logits of transformers for texts and pairs, one by one."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    with torch.no_grad():
        for item in prompts:
            texts = (item,) if isinstance(item, str) else item
            rows.append(model(**tokenizer(*texts, return_tensors="pt", **settings)).logits[0].numpy())
    return np.stack(rows)


def logits(outputs):
    return np.stack([output.outputs.array for output in outputs])


FAMILIES = ("BertForSequenceClassification", "RobertaForSequenceClassification", "Qwen3ForSequenceClassification")


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_and_texts_together_equal_transformers(tmp_path, load, family):
    folder = tiny(family, tmp_path / "nli", num_labels=LABELS)
    mixed = [PAIRS[0], "rain over the mill", PAIRS[1], list(PAIRS[2]), "a"]
    outputs = load(folder).classify(mixed, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    np.testing.assert_allclose(logits(outputs), logits_of(folder, mixed), atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_truncated_pairs_equal_transformers(tmp_path, load, family):
    folder = tiny(family, tmp_path / "nli", num_labels=LABELS)
    pairs = [("mill " * 40, "river " * 5), ("rain", "the cat sat on the mill " * 9), ("a road " * 9, "night " * 30)]
    outputs = load(folder).classify(
        pairs, pooling_params=PoolingParams(use_activation=False), truncate_prompt_tokens=20, use_tqdm=False
    )
    np.testing.assert_allclose(logits(outputs), logits_of(folder, pairs, truncation=True, max_length=20), atol=2e-5)


def test_tuples_lists_and_mappings_are_the_same_pair(llm):
    first, second = PAIRS[0]
    forms = [(first, second), [first, second], {"text": first, "text_pair": second}]
    rows = logits(llm.classify(forms, use_tqdm=False))
    assert (rows == rows[0]).all()
    alone = logits(llm.classify([first, {"text": first}, {"text": first, "text_pair": None}], use_tqdm=False))
    assert (alone == alone[0]).all()
    assert (alone[0] != rows[0]).any()


def test_a_tuple_of_texts_outside_a_list_is_two_texts(llm):
    assert len(llm.classify(PAIRS[0], use_tqdm=False)) == 2  # as in every call: a list or tuple holds prompts
    assert len(llm.classify([PAIRS[0]], use_tqdm=False)) == 1
