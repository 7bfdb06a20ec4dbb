"""Fixtures of the tests of jobs: tiny models, and inputs of a few rows."""

import json
from pathlib import Path

import pytest

from millpond.testing.checkpoints import tiny


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    """A tiny BERT that embeds."""
    return tiny("BertModel", tmp_path_factory.mktemp("jobs") / "bert")


@pytest.fixture
def write_jsonl(tmp_path):
    """Write rows, one JSON object per line; return the path."""

    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return path

    return write


@pytest.fixture
def rows():
    """Rows of different lengths, with ids."""
    return [{"id": f"row-{number}", "text": "the cat sat on the mat " * (1 + number % 5)} for number in range(60)]
