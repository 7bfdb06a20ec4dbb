"""PoolingParams, PoolerConfig, EngineConfig, CheckpointConfig: accepted, invalid, renamed and merged values."""

import copy
import json
import pickle
import re

import pytest

from millpond import EngineConfig, InvalidInputError, PoolerConfig, PoolingParams
from millpond.model.spec import ClassificationSettings, ModelIdentity, ResolvedModel
from millpond.types.config import CheckpointConfig
from millpond.types.params import validated

# --- parameters of a call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"dimensions": 0},
        {"dimensions": -1},
        {"dimensions": 2.0},
        {"dimensions": "2"},
        {"dimensions": True},
        {"truncate_prompt_tokens": -2},
        {"truncate_prompt_tokens": "5"},
        {"truncate_prompt_tokens": True},
        {"truncation_side": "up"},
        {"truncation_side": "left\n"},
        {"use_activation": "maybe"},
        {"step_tag_id": -1},
        {"task": 5},
        {"dimension": 5},
    ],
    ids=str,
)
def test_parameters_that_do_not_fit_are_a_value_error_that_names_them(fields):
    (name,) = fields
    with pytest.raises(ValueError, match=name):
        PoolingParams(**fields)


@pytest.mark.parametrize("old", ["normalize", "softmax", "activation"])
def test_parameters_that_vllm_removed_are_refused_with_its_messages(old):
    with pytest.raises(ValueError, match=rf"Parameter `{old}` was removed; use `use_activation` instead\."):
        PoolingParams(**{old: False})
    assert PoolingParams(use_activation=False).use_activation is False


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("score", "`score` task was removed; use `classify` instead."),
        ("encode", "`encode` task was removed; use `token_embed` or `token_classify` instead."),
    ],
)
def test_tasks_that_vllm_removed_are_refused_with_its_messages(task, message):
    for kind in (PoolingParams, PoolerConfig):
        with pytest.raises(ValueError, match=re.escape(message)):
            kind(task=task)


def test_the_field_pooling_task_of_vllm_is_accepted():
    assert PoolerConfig.parse('{"pooling_task": "token_embed"}').task == "token_embed"


@pytest.mark.parametrize("old", ["normalize", "softmax", "activation"])
def test_older_names_of_vllm_set_use_activation(old):
    assert PoolerConfig(**{old: False}).use_activation is False


def test_an_older_name_may_agree_with_the_present_one_and_not_contradict_it():
    assert PoolerConfig(normalize=True, use_activation=True).use_activation is True
    assert PoolerConfig(normalize=True, use_activation=None).use_activation is True
    with pytest.raises(ValueError, match="their values differ"):
        PoolerConfig(normalize=True, use_activation=False)


def test_parameters_do_not_change_and_are_equal_by_value():
    params = PoolingParams(dimensions=5)
    with pytest.raises(ValueError, match="frozen"):
        params.dimensions = 6
    assert params == PoolingParams(dimensions=5) != PoolingParams(dimensions=6)
    assert pickle.loads(pickle.dumps(params)) == copy.deepcopy(params) == params


def test_a_clone_is_deep():
    params = PoolingParams(extra_kwargs={"a": [1]})
    clone = params.clone()
    clone.extra_kwargs["a"].append(2)
    assert params.extra_kwargs == {"a": [1]}


# --- the pooler's config --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"pooling_type": "MEAN", "use_activation": False},
        '{"pooling_type": "MEAN", "use_activation": false}',
        PoolerConfig(pooling_type="MEAN", use_activation=False),
        CheckpointConfig({"pooling_type": "MEAN", "use_activation": False}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_pooler_config_is_an_object_a_dict_or_json(value):
    assert PoolerConfig.parse(value) == PoolerConfig(pooling_type="MEAN", use_activation=False)


def test_none_is_the_empty_pooler_config():
    assert PoolerConfig.parse(None) == PoolerConfig() == PoolerConfig.parse({}) == PoolerConfig.parse("{}")
    assert PoolerConfig().model_dump(exclude_none=True, exclude_defaults=True) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"pooling_typ": "MEAN"}, r"Unknown field 'pooling_typ'\. Available: task, pooling_type"),
        ('{"pooling_typ": "MEAN"}', "Unknown field 'pooling_typ'"),
        ({"dimensions": 0}, "dimensions=0: .*greater than or equal to 1"),
        ({"dimensions": "x"}, "dimensions='x'"),
        ({"use_activation": "maybe"}, "use_activation='maybe'"),
        ({"logit_sigma": 0}, r"logit_sigma cannot be 0 \(division by zero\)"),
        ({"pooling_type": "CLS", "seq_pooling_type": "CLS"}, "Cannot set both `pooling_type` and `seq_pooling_type`"),
        ({"pooling_type": "ALL", "tok_pooling_type": "ALL"}, "Cannot set both `pooling_type` and `tok_pooling_type`"),
        ({"dimensions": 0, "max_embed_len": 0}, "dimensions=0.*; max_embed_len=0"),
        ("{", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("null", "pooler_config"),
        ("[]", "pooler_config"),
        ("MEAN", "Invalid JSON"),
        (5, "must be a PoolerConfig, a dict or JSON text; got int"),
        (["pooling_type"], "must be a PoolerConfig, a dict or JSON text; got list"),
    ],
    ids=repr,
)
def test_the_error_for_an_invalid_pooler_config_names_the_problem(value, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        PoolerConfig.parse(value)
    assert str(caught.value).startswith("pooler_config")
    assert caught.value.parameter == "pooler_config"
    assert "pydantic" not in str(caught.value)


def test_validated_takes_fields_or_json():
    assert validated(EngineConfig, {"max_num_seqs": 3}, parameter="engine").max_num_seqs == 3
    assert validated(EngineConfig, '{"max_num_seqs": 3}', parameter="engine").max_num_seqs == 3
    with pytest.raises(InvalidInputError, match=r"^engine: max_num_seqs=0: .*greater than or equal to 1$"):
        validated(EngineConfig, {"max_num_seqs": 0}, parameter="engine")


# --- config.json ----------------------------------------------------------------------------------------------------

NESTED = {"hidden_size": 32, "text_config": {"layers": 2, "rope": {"theta": 1.0, "type": "x"}}, "ids": [1, {"a": 2}]}


def test_a_checkpoint_config_is_read_by_item_or_attribute():
    config = CheckpointConfig(NESTED)
    assert config["hidden_size"] == config.hidden_size == config.get("hidden_size") == 32
    assert config.text_config.rope.theta == config["text_config"]["rope"]["theta"] == 1.0
    assert set(config) == set(NESTED)
    assert len(config) == 3
    assert ("hidden_size" in config, "nope" in config) == (True, False)
    assert config.to_dict() == NESTED
    assert json.loads(json.dumps(config.to_dict())) == NESTED
    assert dict(**config)["hidden_size"] == 32


def test_the_error_for_a_missing_field_lists_the_available_fields():
    config = CheckpointConfig(NESTED)
    with pytest.raises(AttributeError, match=r"config\.json has no 'size'\. Available: hidden_size, ids, text_config"):
        _ = config.size
    with pytest.raises(KeyError, match="size"):
        _ = config["size"]
    assert getattr(config, "size", 7) == config.get("size", 7) == 7
    assert not hasattr(config, "__len_hint__")


def test_a_checkpoint_config_cannot_be_changed():
    """A change that is ignored would load a different model than the caller expects."""
    values = copy.deepcopy(NESTED)
    config = CheckpointConfig(values)
    values["hidden_size"] = 64
    assert config.hidden_size == 32
    with pytest.raises(AttributeError, match=r"read-only.*return \{'hidden_size': 64\}"):
        config.hidden_size = 64
    with pytest.raises(AttributeError, match="read-only"):
        config.new = 1
    with pytest.raises(TypeError):
        config["hidden_size"] = 64
    config.to_dict()["text_config"]["layers"] = 9
    assert config.text_config.layers == 2


def test_a_checkpoint_config_can_be_copied_and_pickled():
    config = CheckpointConfig(NESTED)
    assert pickle.loads(pickle.dumps(config)).to_dict() == NESTED
    assert copy.deepcopy(config).to_dict() == NESTED


@pytest.mark.parametrize(
    ("number", "names", "labels"),
    [
        (2, ("grief", "joy"), ("grief", "joy")),
        (2, ("grief",), ("LABEL_0", "LABEL_1")),
        (2, (), ("LABEL_0", "LABEL_1")),
        (0, (), ()),
    ],
)
def test_labels_are_those_of_the_files_where_they_name_as_many(number, names, labels):
    model = ResolvedModel(
        identity=ModelIdentity(model="m", path="m", source="path", architecture="A"),
        hf_config=CheckpointConfig({}),
        max_model_len=8,
        dtype="float32",
        pooler_config=PoolerConfig(),
        tasks=("classify",),
        classification=ClassificationSettings(num_labels=number, labels=names),
    )
    assert model.labels == labels


def test_overrides_are_merged_into_nested_objects():
    config = CheckpointConfig(NESTED)
    changed = config.overridden({"hidden_size": 8, "text_config": {"rope": {"theta": 2.0}}, "new": {"a": {"b": 1}}})
    assert changed.hidden_size == 8
    assert changed.text_config.to_dict() == {"layers": 2, "rope": {"theta": 2.0, "type": "x"}}
    assert changed.new.a.b == 1
    assert config.to_dict() == NESTED
    assert config.overridden({"text_config": None}).text_config is None
    assert config.overridden({"hidden_size": {"a": 1}}).hidden_size.a == 1
    assert config.overridden({"ids": [3]}).ids == [3]
    assert config.overridden(CheckpointConfig({"text_config": {"layers": 5}})).text_config.to_dict() == {
        "layers": 5,
        "rope": {"theta": 1.0, "type": "x"},
    }
