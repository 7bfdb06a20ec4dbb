"""Fixtures of the tests of recipes: a tiny model."""

from pathlib import Path

import pytest

from millpond.testing.checkpoints import tiny


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    """A tiny BERT that embeds."""
    return tiny("BertModel", tmp_path_factory.mktemp("recipes") / "bert")
