"""Functions for tests of ``millpond inspect``: run the command, and write a checkpoint to inspect."""

import json

from typer.testing import CliRunner

from millpond.testing import checkpoints
from millpond_command import cli

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def inspect(*arguments):
    return CliRunner().invoke(cli.app, ["inspect", *map(str, arguments)])


def facts(*arguments, exit_code=0):
    done = inspect(*arguments, "--json")
    assert done.exit_code == exit_code, done.output
    report = json.loads(done.stdout)
    assert report["servable"] is (exit_code == 0)
    return report


def edit(path, **changes):
    """Change fields of a JSON file; None takes a field out."""
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}), encoding="utf-8")


def problem(folder, *arguments):
    """The one problem of a folder."""
    report = facts(folder, *arguments, exit_code=1)
    (only,) = report["problems"]
    done = inspect(folder, *arguments)
    assert done.exit_code == 1
    assert f"{folder}: cannot be served\n" in done.stdout
    assert "\nProblems\n  - " in done.stdout
    return only


def write_checkpoint(folder):
    """Write a checkpoint with the files of sentence-transformers."""
    folder = checkpoints.tiny("BertModel", folder)
    dense = [checkpoints.DenseLayer(in_features=32, out_features=16)]
    checkpoints.write_sentence_transformers(
        folder, pooling="cls", dense=dense, max_seq_length=48, prompts={"query": "query: "}
    )
    return folder
