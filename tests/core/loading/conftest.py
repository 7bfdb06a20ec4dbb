"""What the tests of loading share: what the tiny BERT makes of a prompt, and a config.json that is changed."""

import json

import pytest

PROMPT = "the old mill by the river"


@pytest.fixture(scope="session")
def prompt() -> str:
    """What the tests embed."""
    return PROMPT


@pytest.fixture(scope="session")
def vector():
    """What a model makes of the prompt."""

    def vector(llm):
        return llm.embed(PROMPT)[0].outputs.array

    return vector


@pytest.fixture(scope="session")
def expected(tiny_bert, vector):
    """What any copy of the tiny BERT must compute."""
    return vector(tiny_bert)


@pytest.fixture(scope="session")
def change():
    """Change fields of a folder's config.json; None takes one out."""

    def change(folder, **fields):
        path = folder / "config.json"
        config = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return change
