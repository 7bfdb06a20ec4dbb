"""``POST /entities``: the entities of ``LLM.entities`` over HTTP."""

import json
from dataclasses import asdict

import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny

TEXTS = ["the woman lives by the old mill", "snow", "a small boatman ☃"]
LABELS = ("O", "B-PER", "I-PER", "LOC")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A token classifier and a text classifier."""
    root = tmp_path_factory.mktemp("entities")
    tagger = tiny("BertForTokenClassification", root / "tagger", num_labels=len(LABELS))
    config = json.loads((tagger / "config.json").read_text())
    (tagger / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(LABELS))}))
    return {"tagger": str(tagger), "classifier": str(tiny("BertForSequenceClassification", root / "classifier"))}


@pytest.fixture(scope="module")
def offline(folders):
    with LLM(folders["tagger"]) as llm:
        yield llm


@pytest.mark.parametrize(
    "asked",
    [{}, {"aggregation": "none", "ignore_labels": []}, {"aggregation": "max"}, {"ignore_labels": ["O", "LOC"]}],
    ids=str,
)
def test_entities_are_those_of_llm(post, offline, asked):
    body = post("/entities", input=TEXTS, **asked)
    outputs = offline.entities(TEXTS, use_tqdm=False, **asked)
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    for item, output in zip(body["data"], outputs, strict=True):
        expected = [{**asdict(one), "score": pytest.approx(one.score, abs=1e-6)} for one in output.outputs]
        assert item["entities"] == expected
    assert body["usage"]["total_tokens"] == sum(output.num_prompt_tokens for output in outputs)
    assert (body["object"], body["model"]) == ("list", "tagger")


def test_texts_may_be_cut(post):
    body = post("/entities", input="mill " * 100, truncate_prompt_tokens=5, ignore_labels=[], aggregation="none")
    assert [one["start"] for one in body["data"][0]["entities"]] == [0, 5, 10]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"input": "a", "aggregation": "best"}, "aggregation"),
        ({"input": [[5, 6]]}, "these are token ids"),
        ({"input": "mill " * 100}, "maximum context length is 64 tokens"),
        ({"input": "a", "model": "classifier"}, "finds no entities"),
    ],
    ids=str,
)
def test_invalid_requests_are_refused(post, asked, message):
    assert message in json.dumps(post("/entities", 400, **asked))


def test_pooling_refuses_entities_and_names_their_route(post):
    assert "POST /entities returns them" in json.dumps(post("/pooling", 400, input="a", task="entities"))
