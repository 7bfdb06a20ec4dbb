"""A fixture that writes small models of transformers."""

import pytest
from fallback_kit import write_random


@pytest.fixture
def make(tmp_path):
    """Write a checkpoint; see ``write_random``."""
    return lambda name, **settings: write_random(name, tmp_path, **settings)
