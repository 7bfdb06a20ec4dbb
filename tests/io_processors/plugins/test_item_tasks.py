"""A task of a plugin that reads objects: its items are validated by their type before the IO processor sees them."""

import numpy as np
import pytest
from documents_task import RECORDS, TitledText
from pydantic import model_validator

from millpond import LLM
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import TaskSpec
from millpond.testing.checkpoints import tiny
from millpond.types.errors import ComponentError, InvalidInputError, PluginError

TEXT = "the mill by the pond"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny("BertModel", tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def llm(folder):
    plugins = PluginManager()
    for record in RECORDS:
        plugins.register(record)
    with LLM(folder, plugins=plugins, num_workers=1) as llm:
        yield llm


def test_objects_become_instances_of_the_type(llm):
    fields, instance, plain = llm.sketch(
        [{"text": TEXT, "title": "Mill"}, TitledText(text=TEXT, weight=2), {"text": TEXT}]
    )
    (vector,) = llm.embed(f"Mill {TEXT}")
    assert fields.outputs.first == vector.outputs.array[:4].tolist()
    assert (instance.outputs.weight, plain.outputs.weight) == (2.0, 1.0)
    np.testing.assert_array_equal(instance.outputs.first, plain.outputs.first)


def test_a_single_object_is_one_item(llm):
    (fields,) = llm.encode({"text": TEXT}, pooling_task="sketch")
    (instance,) = llm.sketch(TitledText(text=TEXT))
    assert fields.outputs.first == instance.outputs.first


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"text": TEXT, "weight": 0}, "prompt 1: prompts: weight=0: Input should be greater than 0"),
        ({"title": "Mill"}, "prompt 1: prompts: text: Field required"),
        ({"text": TEXT, "titel": "Mill"}, "prompt 1: prompts: Unknown field 'titel'. Available: text, title, weight"),
        (TEXT, "prompt 1: the task 'sketch' reads objects with the fields text, title, weight; got str"),
        ([5, 6], "prompt 1: the task 'sketch' reads objects with the fields text, title, weight; got list"),
    ],
)
def test_an_error_names_the_field_and_affects_its_item_only(llm, item, message):
    items = [{"text": TEXT}, item, {"text": TEXT}]
    with pytest.raises(InvalidInputError, match=message):
        llm.sketch(items)
    first, failed, last = llm.sketch(items, on_error="return")
    assert first.outputs.first == last.outputs.first
    assert failed.outputs is None
    assert isinstance(failed.error, InvalidInputError)


class Broken(TitledText):
    @model_validator(mode="before")
    @classmethod
    def _fail(cls, data):
        raise KeyError(data["text"])


def test_a_validator_that_fails_is_an_error_of_the_plugin_for_its_item(folder):
    plugins = PluginManager()
    task, processor = RECORDS
    for record in (TaskSpec(**{**vars(task), "item": Broken}), processor):
        plugins.register(record)
    with LLM(folder, plugins=plugins, num_workers=1) as llm:
        (output,) = llm.sketch({"text": TEXT}, on_error="return")
    assert isinstance(output.error, ComponentError)
    assert "IO processor 'sketch' of plugin runtime failed in the type of its items: KeyError" in str(output.error)


def test_a_type_that_is_no_model_is_an_error_of_the_plugin(folder):
    plugins = PluginManager()
    task, processor = RECORDS
    for record in (TaskSpec(**{**vars(task), "item": dict}), processor):
        plugins.register(record)
    with LLM(folder, plugins=plugins, num_workers=1) as llm, pytest.raises(PluginError, match="its item must be a pyd"):
        llm.sketch({"text": TEXT})
