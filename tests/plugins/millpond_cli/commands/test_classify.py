"""``millpond classify``: labels and probabilities are those of the logits, in every format."""

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM, PoolingParams
from millpond.testing import checkpoints
from millpond_cli.commands.classify import distinct
from millpond_command import cli

TEXTS = ["a cat sleeps", "the dog", "water under the bridge", "snow"]
LABELS = ["grief", "joy", 'rage "red"']
RAW = PoolingParams(use_activation=False)
TOLERANCE = 1e-6


def classify(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["classify", *map(str, arguments)], input=stdin)


def lines_of(done):
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier of texts into three classes, which config.json names."""
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path_factory.mktemp("tiny") / "model", num_labels=3)
    return named(folder)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A classifier of tokens."""
    return named(checkpoints.tiny("BertForTokenClassification", tmp_path_factory.mktemp("tags") / "m", num_labels=3))


def named(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"id2label": dict(enumerate(LABELS))} | changes
    path.write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def logits(folder):
    """The logits of the model, [num_texts, 3]."""
    with LLM(str(folder)) as llm:
        return np.stack([output.outputs.array for output in llm.classify(TEXTS, pooling_params=RAW, use_tqdm=False)])


def softmax(rows):
    raised = np.exp(rows - rows.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def test_each_text_has_its_label_and_the_probabilities_of_all(folder, logits):
    lines = lines_of(classify("-m", folder, *TEXTS))
    assert [list(line) for line in lines] == [["index", "num_tokens", "label", "probs"]] * len(TEXTS)
    assert [list(line["probs"]) for line in lines] == [LABELS] * len(TEXTS)
    actual_values = np.array([list(line["probs"].values()) for line in lines])
    assert np.abs(actual_values - softmax(logits)).max() <= TOLERANCE
    assert [line["label"] for line in lines] == [LABELS[index] for index in logits.argmax(1)]


def test_raw_logits_are_returned_on_request(folder, logits):
    lines = lines_of(classify("-m", folder, "--raw", *TEXTS))
    actual_values = np.array([list(line["logits"].values()) for line in lines])
    assert np.abs(actual_values - logits).max() <= TOLERANCE
    assert [line["label"] for line in lines] == [LABELS[index] for index in logits.argmax(1)]


def test_the_best_results_come_first(folder, logits):
    lines = lines_of(classify("-m", folder, "--top-k", 2, *TEXTS))
    order = np.argsort(-logits, axis=1)[:, :2]
    assert [list(line["probs"]) for line in lines] == [[LABELS[index] for index in places] for places in order]
    assert all(line["label"] == next(iter(line["probs"])) for line in lines)
    assert lines_of(classify("-m", folder, "--top-k", 9, *TEXTS))[0]["probs"].keys() == set(LABELS)


def test_several_labels_a_text_are_probabilities_one_by_one(tmp_path, logits):
    model = named(
        checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=3),
        problem_type="multi_label_classification",
    )
    actual_values = np.array([list(line["probs"].values()) for line in lines_of(classify("-m", model, *TEXTS))])
    assert np.abs(actual_values - 1 / (1 + np.exp(-logits))).max() <= TOLERANCE


def test_csv_has_a_column_a_class(folder, logits):
    header, *records = csv.reader(io.StringIO(classify("-m", folder, "-f", "csv", "--with-text", *TEXTS).stdout))
    assert header == ["index", "text", "num_tokens", "label", *LABELS]
    assert [record[1] for record in records] == TEXTS
    assert np.abs(np.array([record[4:] for record in records], dtype=float) - softmax(logits)).max() <= TOLERANCE
    header, *records = csv.reader(io.StringIO(classify("-m", folder, "-f", "csv", "--top-k", 2, *TEXTS).stdout))
    assert header == ["index", "num_tokens", "label_1", "probs_1", "label_2", "probs_2"]
    assert [record[2] for record in records] == [LABELS[index] for index in logits.argmax(1)]
    assert all(float(record[3]) > float(record[5]) for record in records)


def test_a_file_in_and_a_file_out(tmp_path, folder):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.csv"
    rows = [{"body": text, "id": f"k{number}"} for number, text in enumerate(TEXTS)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = classify("-m", folder, "-i", source, "--text-key", "body", "-o", target, "--top-k", 1)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    header, *records = csv.reader(io.StringIO(target.read_text(encoding="utf-8")))
    assert header == ["index", "id", "num_tokens", "label_1", "probs_1"]
    assert [record[1] for record in records] == ["k0", "k1", "k2", "k3"]


def test_texts_that_fail_are_skipped(folder):
    done = classify("-m", folder, "--on-error", "skip", "-f", "csv", stdin=f"cat\n{'cat ' * 600}\ndog\n")
    assert done.exit_code == 3
    header, *records = csv.reader(io.StringIO(done.stdout))
    assert header == ["index", "num_tokens", "error", "label", *LABELS]
    assert [bool(record[2]) for record in records] == [False, True, False]
    assert records[1][3:] == ["", "", "", ""]
    assert done.stderr.splitlines()[-1] == "warning: 1 of 3 texts failed and have no result"


def test_each_token_has_its_classes(tagger):
    (line,) = lines_of(classify("-m", tagger, "--per-token", "--raw", "A cat, no"))
    with LLM(str(tagger)) as llm:
        (output,) = llm.encode("A cat, no", RAW, pooling_task="token_classify", use_tqdm=False)
    assert [token["token"] for token in line["tokens"]] == ["[CLS]", "a", "cat", ",", "no", "[SEP]"]
    actual_values = np.array([list(token["logits"].values()) for token in line["tokens"]])
    assert np.abs(actual_values - output.outputs.array).max() <= TOLERANCE
    assert [token["label"] for token in line["tokens"]] == [LABELS[index] for index in actual_values.argmax(1)]
    (line,) = lines_of(classify("-m", tagger, "--per-token", "--top-k", 1, "A cat, no"))
    assert {len(token["probs"]) for token in line["tokens"]} == {1}


def test_repeated_labels_are_distinguished():
    assert distinct(("a", "b", "a")) == ("a#0", "b", "a#2")
    assert distinct(("a", "b")) == ("a", "b")


def test_the_error_of_a_model_without_classification_lists_its_tasks(tmp_path):
    model = checkpoints.tiny("BertModel", tmp_path / "model")
    done = classify("-m", model, "cat")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Classification API is not supported by this model.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cat"], "Missing option '--model'"),
        (["cat", "-m", "x", "--top-k", "0"], "--top-k"),
        (["cat", "-m", "x", "-f", "npy"], "--format 'npy': expected one of jsonl, json, csv"),
        (["cat", "-m", "x", "-o", "out.npz"], "Known suffixes: .jsonl, .json, .csv"),
        (["cat", "-m", "x", "--per-token", "-f", "csv"], "--per-token cannot be written as csv"),
        (["cat", "-m", "x", "--on-error", "no"], "--on-error 'no': expected one of raise, skip"),
        (
            ["cat", "-m", "x", "--prompt", "a", "--prompt-name", "b"],
            "--prompt and --prompt-name cannot be used together",
        ),
    ],
)
def test_usage_errors_are_reported_before_anything_is_loaded(monkeypatch, arguments, message):
    monkeypatch.setattr(LLM, "__init__", lambda *_, **__: pytest.fail("it loads the model"))
    done = classify(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


# --- entities ---------------------------------------------------------------------------------------------------------


def test_entities_have_character_offsets(tagger):
    lines = lines_of(classify("-m", tagger, "--tokens", *TEXTS))
    assert [list(line) for line in lines] == [["index", "num_tokens", "entities"]] * len(TEXTS)
    with LLM(str(tagger)) as llm:
        outputs = [output.outputs for output in llm.entities(TEXTS, use_tqdm=False)]
    assert sum(map(len, outputs)) >= len(TEXTS)
    for line, entities, text in zip(lines, outputs, TEXTS, strict=True):
        actual_entities = [{**one, "score": pytest.approx(one["score"], abs=TOLERANCE)} for one in line["entities"]]
        names = ("label", "score", "start", "end", "text")
        assert [{name: getattr(one, name) for name in names} for one in entities] == actual_entities
        assert all(text[one["start"] : one["end"]] == one["text"] for one in line["entities"])


@pytest.mark.parametrize("way", ["none", "first", "average", "max"])
def test_the_aggregation_of_entities_may_be_specified(tagger, way):
    (line,) = lines_of(classify("-m", tagger, "--tokens", "--aggregation", way, "snowman"))
    with LLM(str(tagger)) as llm:
        (output,) = llm.entities("snowman", aggregation=way)
    assert [one["text"] for one in line["entities"]] == [one.text for one in output.outputs]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--tokens", "--top-k", "2"], "--top-k and --tokens cannot be used together"),
        (["--tokens", "--raw"], "--raw and --tokens"),
        (["--tokens", "--per-token"], "--per-token and --tokens"),
        (["--tokens", "--format", "csv"], "entities (--tokens) cannot be written as csv"),
        (["--tokens", "--aggregation", "best"], "--aggregation best: expected one of none, simple"),
        (["--aggregation", "max"], "--aggregation requires --tokens"),
    ],
    ids=" ".join,
)
def test_options_that_mean_nothing_for_entities_are_refused(tagger, typed, message):
    done = classify("-m", tagger, *typed, "snow")
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_bare_results_of_the_task_are_the_same(tagger):
    expected = lines_of(classify("-m", tagger, "--tokens", *TEXTS))
    done = CliRunner().invoke(cli.app, ["encode", "-m", str(tagger), "--task", "entities", *TEXTS])
    assert lines_of(done) == expected
    refused = CliRunner().invoke(
        cli.app, ["encode", "-m", str(tagger), "--task", "entities", "--format", "csv", *TEXTS]
    )
    assert refused.exit_code == 2
    assert "results of the task 'entities' cannot be written as csv" in refused.stderr


def test_a_classifier_of_texts_finds_no_entities(folder):
    done = classify("-m", folder, "--tokens", "snow")
    assert done.exit_code != 0
    assert "finds no entities" in done.stderr


# --- pairs ------------------------------------------------------------------------------------------------------------

PAIRS = [("the cat sat", "a cat is there"), ("the dog by the lake", "a cat is there"), ("the lake", None)]


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "model"
    return str(checkpoints.tiny("BertForSequenceClassification", folder, num_labels=3))


@pytest.fixture(scope="module")
def pair_probabilities(paired):
    with LLM(paired) as llm:
        asked = [first if second is None else (first, second) for first, second in PAIRS]
        return [output.outputs.probs for output in llm.classify(asked, use_tqdm=False)]


def probabilities(done):
    assert done.exit_code == 0, done.stderr
    return [list(json.loads(line)["probs"].values()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("key", ["text_pair", "hypothesis"])
def test_rows_of_json_with_a_second_text_are_pairs(tmp_path, paired, pair_probabilities, key):
    rows = [{"text": first, **({} if second is None else {key: second})} for first, second in PAIRS]
    rows = rows[:2] if key == "hypothesis" else rows
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    option = [] if key == "text_pair" else ["--text-pair-key", key]
    values = probabilities(classify("-m", paired, "-i", path, *option))
    assert np.allclose(values, pair_probabilities[: len(rows)], atol=1e-6)
    assert not np.allclose(values[0], probabilities(classify("-m", paired, PAIRS[0][0]))[0], atol=1e-4)


def test_a_column_of_second_texts_makes_pairs_and_is_written_with_them(tmp_path, paired, pair_probabilities):
    path = tmp_path / "pairs.csv"
    path.write_text("text,text_pair\n" + "".join(f"{a},{b}\n" for a, b in PAIRS[:2]), encoding="utf-8")
    done = classify("-m", paired, "-i", path, "-f", "csv", "--with-text")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["text"], row["text_pair"]) for row in rows] == PAIRS[:2]
    assert np.allclose([float(row["LABEL_0"]) for row in rows], [probs[0] for probs in pair_probabilities[:2]])


def test_one_second_text_for_all(paired, pair_probabilities):
    done = classify("-m", paired, *(first for first, _ in PAIRS[:2]), "--text-pair", "a cat is there")
    assert np.allclose(probabilities(done), pair_probabilities[:2], atol=1e-6)


def test_two_second_texts_for_one_text_are_refused(tmp_path, paired):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"text": "a", "text_pair": "b"}), encoding="utf-8")
    done = classify("-m", paired, "-i", path, "--text-pair", "c")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "line 1 has a second text, so --text-pair cannot be used" in done.stderr


def test_a_second_text_that_was_named_must_be_there(tmp_path, paired):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text": "a", "other": "b"}', encoding="utf-8")
    done = classify("-m", paired, "-i", path, "--text-pair-key", "second")
    assert done.exit_code == 1
    assert (
        "no field 'second'. Available: text, other. Name the field of the second text with --text-pair-key"
        in done.stderr
    )


def test_entities_are_not_found_in_pairs(tmp_path):
    folder = str(checkpoints.tiny("BertForTokenClassification", tmp_path / "model"))
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"text": "a", "text_pair": "b"}), encoding="utf-8")
    done = classify("-m", folder, "--tokens", "-i", path)
    assert done.exit_code == 2
    assert "line 1 has a second text, which --tokens does not support" in done.stderr
