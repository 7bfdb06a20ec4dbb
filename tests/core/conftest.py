"""Fixtures for tests of models: the embedding of a prompt by the tiny BERT, and changes of config.json."""

import json

import pytest

PROMPT = "the old mill by the river"


@pytest.fixture(scope="session")
def prompt() -> str:
    """The prompt that the tests embed."""
    return PROMPT


@pytest.fixture(scope="session")
def vector():
    """Return the embedding of the prompt by a model."""

    def vector(llm):
        return llm.embed(PROMPT)[0].outputs.array

    return vector


@pytest.fixture(scope="session")
def expected(tiny_bert, vector):
    """The embedding that any copy of the tiny BERT must return."""
    return vector(tiny_bert)


@pytest.fixture(scope="session")
def change():
    """Change fields of a folder's config.json; None removes a field."""

    def change(folder, **fields):
        path = folder / "config.json"
        config = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return change
