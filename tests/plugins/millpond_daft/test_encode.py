"""`encode` returns the results of any task as JSON: of texts, and of objects for a task of a plugin."""

import json

import numpy as np
import pytest

daft = pytest.importorskip("daft", reason="needs the extra daft: make test-daft")

from documents_task import RECORDS  # noqa: E402  after the check

from millpond.plugin.manager import get_plugin_manager  # noqa: E402
from millpond.testing.checkpoints import tiny  # noqa: E402
from millpond_daft import encode  # noqa: E402
from millpond_recipes.errors import RecipeError  # noqa: E402

ITEMS = [{"title": "Mill", "text": "the mill grinds wheat"}, None, {"title": "", "text": "a river"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny("BertModel", tmp_path_factory.mktemp("encode") / "bert"))


@pytest.fixture(scope="module")
def sketches():
    """A task of a plugin that reads objects, registered in this process."""
    for record in RECORDS:
        get_plugin_manager().register(record)


def encoded(values, **arguments):
    frame = daft.from_pydict({"item": values})
    column = encode(frame["item"], num_workers=1, **arguments)
    return frame.with_column("result", column).to_pydict()["result"]


def test_objects_are_computed_by_a_task_of_a_plugin(sketches, folder, load):
    first, missing, last = encoded(ITEMS, task="sketch", model=folder)
    expected = load(folder).encode([item for item in ITEMS if item], pooling_task="sketch")
    assert missing is None
    for result, output in zip((first, last), expected, strict=True):
        assert json.loads(result)["first"] == pytest.approx(output.outputs.first, abs=1e-6)


def test_texts_are_computed_by_any_task(folder, load):
    (result,) = encoded(["a river"], task="token_embed", model=folder)
    (expected,) = load(folder).encode("a river", pooling_task="token_embed")
    np.testing.assert_allclose(json.loads(result)["vectors"], expected.outputs.array, atol=1e-6)


def test_a_row_that_fails_ends_the_query_or_is_null(sketches, folder):
    bad = [{"title": "a", "text": "b", "weight": -1}, ITEMS[0]]
    with pytest.raises(RecipeError, match="weight=-1: Input should be greater than 0"):
        encoded(bad, task="sketch", model=folder)
    failed, computed = encoded(bad, task="sketch", model=folder, on_error="ignore")
    assert (failed is None, computed is None) == (True, False)


def test_unknown_names_are_refused_before_the_query(folder):
    with pytest.raises(ValueError, match="num_wrkers"):
        encoded(["a"], task="token_embed", model=folder, num_wrkers=1)
