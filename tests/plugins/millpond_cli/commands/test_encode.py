"""``millpond encode``: the raw results of each task equal those of ``LLM.encode``."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents_task import RECORDS
from typer.testing import CliRunner

from millpond import LLM, IOProcessor, PoolingParams, register
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Job
from millpond.plugin import manager as plugins
from millpond.plugin.specs import IOProcessorSpec
from millpond.testing import checkpoints
from millpond.types.errors import InvalidInputError
from millpond_command import cli

TEXTS = ["a cat is", "the dog"]
TOLERANCE = 1e-6


def encode(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["encode", *map(str, arguments)], input=stdin)


def data_of(done):
    assert done.exit_code == 0, done.stderr
    return [np.array(json.loads(line)["data"]) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "classifier"
    return str(checkpoints.tiny("BertForSequenceClassification", folder, num_labels=3))


@pytest.mark.parametrize("task", ["embed", "token_embed", "classify", "token_classify"])
@pytest.mark.parametrize("activation", [None, True, False])
def test_every_task_returns_the_results_of_the_model(embedder, classifier, task, activation):
    model = embedder if "embed" in task else classifier
    option = {None: (), True: ("--activation",), False: ("--no-activation",)}[activation]
    values = data_of(encode("-m", model, "--task", task, *option, *TEXTS))
    with LLM(model) as llm:
        outputs = llm.encode(TEXTS, PoolingParams(use_activation=activation), pooling_task=task, use_tqdm=False)
    assert [rows.shape for rows in values] == [output.outputs.array.shape for output in outputs]
    assert max(np.abs(one - two.outputs.array).max() for one, two in zip(values, outputs, strict=True)) <= TOLERANCE


def test_arrays_in_files(tmp_path, embedder, classifier):
    rows, tokens = tmp_path / "rows.npy", tmp_path / "tokens.npz"
    assert encode("-m", classifier, "--task", "classify", "-o", rows, *TEXTS).exit_code == 0
    values = data_of(encode("-m", classifier, "--task", "classify", *TEXTS))
    assert np.abs(np.load(rows) - np.stack(values)).max() <= TOLERANCE
    assert encode("-m", embedder, "--task", "token_embed", "-o", tokens, *TEXTS).exit_code == 0
    values = data_of(encode("-m", embedder, "--task", "token_embed", *TEXTS))
    with np.load(tokens) as content:
        assert content["offsets"].tolist() == [0, 5, 9]
        assert np.abs(content["data"] - np.concatenate(values)).max() <= TOLERANCE


def test_csv_numbers_its_columns(classifier):
    done = encode("-m", classifier, "--task", "classify", "-f", "csv", *TEXTS)
    header, *records = done.stdout.splitlines()
    assert header == "index,num_tokens,d0,d1,d2"
    assert len(records) == 2


def test_dimensions_and_prompts_reach_the_model(embedder):
    option = ("--hf-overrides", '{"is_matryoshka": true}', "--dimensions", 8)
    (values,) = data_of(encode("-m", embedder, "--task", "embed", *option, "cat"))
    assert values.shape == (8,)
    (prompted,) = data_of(encode("-m", embedder, "--task", "embed", "--prompt", "the ", "cat"))
    (whole,) = data_of(encode("-m", embedder, "--task", "embed", "the cat"))
    assert np.abs(prompted - whole).max() <= TOLERANCE


@dataclass
class Told:
    """The result of the processor below: a record with an array."""

    bands: list
    vector: np.ndarray
    where: Path


@dataclass(eq=False, kw_only=True, slots=True)
class BandsJob(Job):
    bands: list


class Bands(IOProcessor):
    """``{"ids": [...], "bands": ...}`` to a record; no other task reads its prompts."""

    def encode(self, call):
        return [self.job(data, call.params) for data in call.prompts]

    def job(self, data, params):
        if not isinstance(data, dict):
            return Job(error=InvalidInputError('expected {"ids": [...]}', parameter="data"))
        wanted = (Representation("embed", params),)
        request = PoolingRequest(input_ids=np.array(data["ids"]), representations=wanted)
        return BandsJob(sequences=(request,), bands=data["bands"])

    def decode(self, job):
        return Told(job.bands, job.sequences[0].results[0], Path("here"))


def test_outputs_of_an_io_processor_plugin_are_json(tmp_path, monkeypatch, embedder):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    register(IOProcessorSpec(name="bands", target=Bands, tasks=("plugin",)))
    path = tmp_path / "in.jsonl"
    rows = [{"data": {"ids": [5, 6], "bands": [1, {"é": None}]}, "id": "x"}, {"data": [1]}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    option = ("--task", "plugin", "--io-processor-plugin", "bands", "--text-key", "data", "--on-error", "skip")
    done = encode("-m", embedder, *option, "-i", path)
    assert done.exit_code == 3, done.output
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["id"], first["data"]["bands"], first["data"]["where"]) == ("x", [1, {"é": None}], "here")
    with LLM(embedder) as llm:
        (output,) = llm.encode([[5, 6]], pooling_task="embed", use_tqdm=False)
    assert np.abs(np.array(first["data"]["vector"]) - output.outputs.array).max() <= TOLERANCE
    assert second == {"index": 1, "error": 'expected {"ids": [...]}'}
    done = encode("-m", embedder, "--task", "plugin", "cat")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "No IOProcessor plugin installed" in done.stderr


def test_a_task_that_the_model_does_not_serve(embedder):
    done = encode("-m", embedder, "--task", "classify", "cat")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Classification API is not supported by this model" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cat"], "Missing option '--pooling-task' / '--task'"),
        (["cat", "--task", "classifi"], "did you mean 'classify'"),
        (["cat", "--task", "token_classify", "-f", "npy"], "npy has one vector per text"),
        (["cat", "--task", "classify", "-o", "out.npz"], "npz has one vector per token"),
        (["cat", "--task", "plugin", "-f", "npz"], "results of IO processor plugins cannot be written as npz"),
        (["cat", "--task", "embed", "-f", "npy", "--with-text"], "--with-text: npy has only vectors"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_loaded(monkeypatch, arguments, message):
    monkeypatch.setattr(LLM, "__init__", lambda *_, **__: pytest.fail("it loads the model"))
    done = encode(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_results_that_are_not_arrays_are_written_as_json_values(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    entities = plugins.get_plugin_manager().registry.tasks.get("entities").spec
    register(replace(entities, name="spans"))
    folder = checkpoints.tiny("BertForTokenClassification", tmp_path / "model")
    done = encode("-m", folder, "--task", "spans", TEXTS[0])
    assert done.exit_code == 0, done.stderr
    with LLM(str(folder), num_workers=1) as llm:
        (expected,) = llm.encode(TEXTS[:1], pooling_task="entities", use_tqdm=False)
    actual_entities = json.loads(done.stdout)["data"]["entities"]
    assert [(one["label"], one["start"]) for one in actual_entities] == [
        (one.label, one.start) for one in expected.outputs
    ]
    done = encode("-m", folder, "--task", "spans", "-o", tmp_path / "out.npy", TEXTS[0])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "results of the task 'spans' cannot be written as npy" in done.stderr


# --- objects ---------------------------------------------------------------------------------------------------------

OBJECTS = [{"text": "the mill", "weight": 2}, {"text": "no", "title": "A"}]


@pytest.fixture
def folder_of_sketches(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    for record in RECORDS:
        register(record)
    return str(checkpoints.tiny("BertModel", tmp_path / "model"))


def sketch(folder, *arguments):
    return encode("-m", folder, "--task", "sketch", "-f", "jsonl", *arguments)


def results(done):
    assert done.exit_code == 0, done.output
    return [json.loads(line)["data"] for line in done.stdout.splitlines()]


def test_each_row_of_a_file_is_an_object(folder_of_sketches, tmp_path):
    lines, table = tmp_path / "rows.jsonl", tmp_path / "rows.parquet"
    lines.write_text("\n".join(map(json.dumps, OBJECTS)), encoding="utf-8")
    pq.write_table(
        pa.Table.from_pylist([{"title": "", **row, "weight": row.get("weight", 1)} for row in OBJECTS]), table
    )
    first, second = results(sketch(folder_of_sketches, "-i", lines))
    assert (first["weight"], second["weight"]) == (2.0, 1.0)
    assert results(sketch(folder_of_sketches, "-i", table)) == [first, second]


def test_an_empty_cell_of_csv_is_a_field_that_is_not_set(folder_of_sketches, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,weight,title\nthe mill,2,\nno,,A\n", encoding="utf-8")
    first, second = results(sketch(folder_of_sketches, "-i", path))
    assert (first["weight"], second["weight"]) == (2.0, 1.0)


def test_a_field_of_a_row_may_be_the_object(folder_of_sketches, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"id": n, "item": row}) for n, row in enumerate(OBJECTS)), encoding="utf-8")
    done = sketch(folder_of_sketches, "--text-key", "item", "-i", path)
    assert [data["weight"] for data in results(done)] == [2.0, 1.0]


def test_the_id_is_no_field_of_the_object_if_an_option_names_it(folder_of_sketches, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"key": "x", "text": "the mill"}), encoding="utf-8")
    done = sketch(folder_of_sketches, "--id-key", "key", "-i", path)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["id"] == "x"
    done = sketch(folder_of_sketches, "-i", path)
    assert done.exit_code == 1
    assert "Unknown field 'key'. Available: text, title, weight" in done.stderr


def test_an_argument_is_an_object_in_json(folder_of_sketches):
    (data,) = results(sketch(folder_of_sketches, json.dumps(OBJECTS[0])))
    assert data["weight"] == 2.0
    done = sketch(folder_of_sketches, "a mill")
    assert done.exit_code == 1
    assert "reads objects with the fields text, title, weight; got str" in done.stderr
