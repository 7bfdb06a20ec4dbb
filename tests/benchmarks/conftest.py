"""Fixtures for the tests of benchmarks/: the scripts as modules, a tiny checkpoint, installed contestants."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from millpond.testing.checkpoints import tiny, write_sentence_transformers

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # the scripts import each other


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A tiny BERT for texts of up to 256 tokens, with the files of sentence-transformers."""
    from models import Model

    folder = tiny("BertModel", tmp_path_factory.mktemp("benchmarks") / "tiny", max_position_embeddings=256)
    write_sentence_transformers(folder, max_seq_length=256)
    return Model("tiny", "tiny", folder)


@pytest.fixture(scope="session")
def contestants():
    """Millpond and sentence-transformers with torch in this environment."""
    from contestants import BY_NAME

    return [replace(BY_NAME[name], environment=None) for name in ("millpond", "st-torch")]


@pytest.fixture
def settings(tiny_model, contestants, tmp_path):
    """Settings for a very short run."""
    from settings import Settings

    return Settings(
        question="test",
        short=True,
        contestants=contestants,
        rounds=2,
        texts=4,
        model=tiny_model,
        environments=tmp_path / "environments",
        output=tmp_path / "output",
    )
