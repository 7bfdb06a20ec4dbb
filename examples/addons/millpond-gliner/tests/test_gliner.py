"""Tests of gliner: scores equal those of plain torch and of the package gliner, selection of spans, files, errors."""

import json
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from millpond_gliner.decoding import Candidate, select
from plain_gliner import PlainGliner
from safetensors.torch import load_file

from millpond import LLM, CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import IOProcessorConformance, TaskConformance

LABELS = ["bird", "long street", "man"]
TEXTS = ["the old man in the red boat, on a long river", "a cat by the sea", "rain", "you have-not seen the ship!"]
TOLERANCE = 1e-5


def write(folder, **options):
    """Write a tiny checkpoint."""
    return tiny("GlinerSpanModel", folder, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny checkpoint."""
    return write(tmp_path_factory.mktemp("gliner") / "model")


@pytest.fixture(scope="module")
def llm(folder):
    """The model; small batches, so that texts share some of them."""
    with LLM(str(folder), num_workers=1, max_num_batched_tokens=64) as llm:
        yield llm


def find(llm, texts, **options):
    """Return the entities of each text."""
    return [output.outputs.entities for output in llm.find_entities(texts, use_tqdm=False, **options)]


def all_scores(llm, texts, labels):
    """Return the probabilities of all spans and labels: the threshold 0 selects everything."""
    entities = find(llm, texts, labels=labels, threshold=0.0, flat=False, multi_label=True)
    return [{(it.start, it.end, it.label): it.score for it in each} for each in entities]


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"hidden_size": 32, "num_rnn_layers": 2}, {"embed_ent_token": False, "max_width": 2}],
    ids=str,
)
def test_scores_equal_plain_torch(tmp_path, options):
    """All probabilities that nested selection keeps, for labels of one and several words."""
    folder = write(tmp_path / "model", **options)
    plain = PlainGliner(folder, json.loads((folder / "gliner_config.json").read_text()))
    with LLM(str(folder), num_workers=1) as llm:
        actual = all_scores(llm, TEXTS, LABELS)
    for text, scores in zip(TEXTS, actual, strict=True):
        expected, words = plain.scores(text, LABELS)
        named = {(words[a][0], words[b][1], LABELS[i]): it for (a, b, i), it in expected.items()}
        assert len(scores) >= len(words)
        assert max(abs(score - named[key]) for key, score in scores.items()) < TOLERANCE
        best = max(named, key=named.get)
        assert scores[best] == pytest.approx(named[best], abs=TOLERANCE)


@pytest.mark.skipif(find_spec("gliner") is None, reason="needs the package gliner")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("flat", "multi_label"), [(True, False), (False, False), (True, True)])
def test_entities_equal_those_of_the_package_gliner(folder, llm, flat, multi_label):
    """The same spans, labels and scores from the same files."""
    theirs = import_module("gliner").GLiNER.from_pretrained(str(folder), local_files_only=True)
    for text in TEXTS:
        expected = theirs.predict_entities(text, LABELS, flat_ner=flat, threshold=0.5, multi_label=multi_label)
        (entities,) = find(llm, [text], labels=LABELS, flat=flat, multi_label=multi_label)
        assert [(it.start, it.end, it.label) for it in entities] == [
            (e["start"], e["end"], e["label"]) for e in expected
        ]
        np.testing.assert_allclose([it.score for it in entities], [e["score"] for e in expected], atol=TOLERANCE)


def test_entities_are_parts_of_the_text_with_labels_of_the_call(llm):
    """Flat entities do not overlap, and calls with other labels have other results."""
    by_text = find(llm, TEXTS, labels=LABELS)
    assert any(by_text)
    for text, entities in zip(TEXTS, by_text, strict=True):
        assert all(it.text == text[it.start : it.end] and it.label in LABELS and it.score > 0.5 for it in entities)
        assert all(a.end <= b.start for a, b in pairwise(entities))
    assert {it.label for entities in find(llm, TEXTS, labels=["ship"]) for it in entities} <= {"ship"}


def test_batches_do_not_change_scores(folder, llm):
    """Texts with different numbers of words and labels share a batch."""
    alone = [all_scores(llm, [text], LABELS)[0] for text in TEXTS]
    for one, other in zip(alone, all_scores(llm, TEXTS, LABELS), strict=True):
        assert one.keys() == other.keys()
        assert max(abs(one[key] - other[key]) for key in one) < TOLERANCE


def test_encode_and_equal_labels(llm):
    """``encode`` takes the same options; a label counts once; a text without words has no entities."""
    (output,) = llm.encode(TEXTS[0], pooling_task="gliner", labels=LABELS, use_tqdm=False)
    assert output.outputs.entities == find(llm, [TEXTS[0]], labels=[*LABELS, LABELS[0]])[0]
    assert find(llm, ["   "], labels=LABELS) == [()]


def test_pickled_weights_are_read_if_allowed(tmp_path, llm):
    """pytorch_model.bin is the file of older checkpoints."""
    folder = write(tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with LLM(str(folder), allow_pickle=True, num_workers=1) as other:
        assert find(other, TEXTS, labels=LABELS) == find(llm, TEXTS, labels=LABELS)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TEXTS[0], {}, r"requires labels, such as labels=\['person', 'city'\]"),
        (TEXTS[0], {"labels": [""]}, "labels"),
        (TEXTS[0], {"labels": LABELS, "threshold": 2}, "less than or equal to 1"),
        ("a " * 41, {"labels": LABELS}, "the text has 41 words; the model's maximum is 40"),
        ("a " * 40, {"labels": ["the " * 30]}, "the text with its labels has .* tokens; the model's maximum is 64"),
        ([5, 6], {"labels": LABELS}, "accepts only texts"),
        ("a \ud800", {"labels": LABELS}, "is not valid Unicode text"),
        (TEXTS[0], {"labels": ["\ud800"]}, "is not valid Unicode text|valid string"),
    ],
)
def test_invalid_calls_are_refused(llm, text, options, message):
    """The error names the option or the limit."""
    with pytest.raises(InvalidInputError, match=message):
        llm.find_entities([text], use_tqdm=False, **options)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("span_mode", "token_level", "span_mode 'token_level' is not supported. Supported: markerV0"),
        ("labels_encoder", "some/encoder", "labels_encoder 'some/encoder' is not supported"),
        ("encoder_config", {"model_type": "bert"}, "the encoder 'bert' is not supported. Supported: deberta-v2"),
        ("encoder_config", None, "model_name 'tiny' is unknown. Known: microsoft/deberta-v3-small"),
    ],
)
def test_other_variants_are_refused(tmp_path, key, value, message):
    """Their results would not be those of the model."""
    folder = write(tmp_path / "model")
    path = folder / "gliner_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=message):
        LLM(str(folder))


# --- selection --------------------------------------------------------------------------------------------------------

OUTER, INNER, CROSSING, OTHER = (
    Candidate(*it) for it in ((0, 3, 0, 0.9), (1, 2, 1, 0.8), (3, 4, 0, 0.7), (0, 3, 1, 0.6))
)


@pytest.mark.parametrize(
    ("flat", "multi_label", "expected"),
    [
        (True, False, [OUTER]),
        (False, False, [OUTER, INNER]),
        (True, True, [OUTER, OTHER]),
        (False, True, [OUTER, OTHER, INNER]),
    ],
)
def test_the_best_spans_are_selected(flat, multi_label, expected):
    """Spans that overlap, contain, or equal a better one are selected as the options allow."""
    assert select([CROSSING, OTHER, INNER, OUTER], flat=flat, multi_label=multi_label) == expected


# --- conformance ------------------------------------------------------------------------------------------------------


class TestGlinerTask(TaskConformance):
    """The requirements of the task's record."""

    name = "gliner"


class TestGlinerProcessor(IOProcessorConformance):
    """The requirements for the IO processor."""

    name = "gliner"
    items = ("a cup of tea", "the old mill by the river", "no")
    params = PoolingParams(extra_kwargs={"labels": LABELS})
    chunked = (("  ", 0), ("a cup of tea", 1))
    refused = ([5, 6, 7], {"prompt": "a"}, "a " * 41)

    def checkpoint(self, folder):
        """Write a tiny model."""
        return write(folder)
