"""Attributes of model_config by their names before 0.2, and those that vLLM has."""

import copy
import pickle
from dataclasses import fields, replace

import pytest

from millpond.compat.model_config import GROUPED
from millpond.types.config import CheckpointConfig, ModelConfig, PoolerConfig
from millpond.types.model_info import ClassificationInfo, ModelIdentity

KEPT = ("architecture", "embedding_size", "io_processor_plugin")
COMMON = {
    "model": "m",
    "hf_config": CheckpointConfig({}),
    "max_model_len": 8,
    "dtype": "float32",
    "pooler_config": PoolerConfig(),
    "tasks": ("embed",),
}
CONFIG = ModelConfig(**COMMON, identity=ModelIdentity(path="p", source="s", architecture="A"))


@pytest.mark.parametrize("name", sorted(set(GROUPED) - set(KEPT)))
def test_reading_a_former_attribute_warns_at_the_caller(name):
    group, attribute = GROUPED[name]
    with pytest.warns(DeprecationWarning, match=rf"use `model_config\.{group}\.{attribute}`") as caught:
        value = getattr(CONFIG, name)
    assert value == getattr(getattr(CONFIG, group), attribute)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", KEPT)
def test_attributes_that_vllm_has_need_no_warning(name, recwarn):
    group, attribute = GROUPED[name]
    assert getattr(CONFIG, name) == getattr(getattr(CONFIG, group), attribute)
    assert not recwarn.list


def test_a_config_is_created_by_old_names_with_a_warning():
    with pytest.warns(DeprecationWarning, match="num_labels"):
        config = ModelConfig(**COMMON, path="p", source="s", architecture="A", embedding_size=None, num_labels=3)
    assert config == replace(CONFIG, classification=ClassificationInfo(num_labels=3))
    with pytest.warns(DeprecationWarning, match="classifier_activation") as caught:
        changed = replace(config, classifier_activation="sigmoid")
    assert [warning.filename for warning in caught] == [__file__]
    assert changed.classification == ClassificationInfo(num_labels=3, activation="sigmoid")


def test_a_config_is_copied_and_pickled_without_a_warning(recwarn):
    assert copy.deepcopy(CONFIG) == pickle.loads(pickle.dumps(CONFIG)) == CONFIG
    assert not recwarn.list


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'ModelConfig' object has no attribute 'num_lables'"):
        _ = CONFIG.num_lables


def test_no_record_has_more_than_twelve_fields():
    kinds = [ModelConfig, *(type(getattr(CONFIG, it.name)) for it in fields(CONFIG))]
    assert max(len(fields(kind)) for kind in kinds if hasattr(kind, "__dataclass_fields__")) <= 12
