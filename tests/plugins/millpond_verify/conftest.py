"""Tiny checkpoints to verify, and a function that runs the command."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers
from millpond_command import cli


@pytest.fixture
def verify(tmp_path):
    """Run ``millpond verify``; return the result and the certificate, which is None if none was written."""

    def run(*arguments):
        output = tmp_path / "certificate.json"
        output.unlink(missing_ok=True)
        done = CliRunner().invoke(cli.app, ["verify", *map(str, arguments), "--quiet", "--output", str(output)])
        return done, json.loads(output.read_text(encoding="utf-8")) if output.exists() else None

    return run


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory):
    """Return a BERT with all files of sentence-transformers. Tests copy the folder to change it."""
    folder = tiny("BertModel", tmp_path_factory.mktemp("verify") / "model")
    dense = [DenseLayer(in_features=32, out_features=16)]
    write_sentence_transformers(folder, dense=dense, max_seq_length=48, prompts={"query": "query: ", "other": ""})
    return folder


@pytest.fixture
def copy(embedding_model, tmp_path):
    return shutil.copytree(embedding_model, tmp_path / "copy")
