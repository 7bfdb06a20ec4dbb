"""The flat fields of ``ArchitectureSpec`` before 0.2: they warn, name the new field, and have the same effect."""

import dataclasses

import pytest

from millpond.loading.architecture import choose_architecture
from millpond.plugin import specs
from millpond.plugin.registry import Origin, Registry
from millpond.plugin.specs import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    TextInput,
)
from millpond.types.config import CheckpointConfig

FLAT = {
    "pooling": ("MEAN", {"pooling": PoolingDefaults("MEAN")}),
    "pooling_key": ("pooling", {"pooling": PoolingDefaults(config_key="pooling")}),
    "pooler_config": (
        {"tok_pooling_type": "STEP", "step_tag_id": 7, "use_activation": False},
        {"pooling": PoolingDefaults(tok_type="STEP", step_tag_id=7, settings={"use_activation": False})},
    ),
    "size_keys": (("dim",), {"output": OutputShape(size_keys=("dim",))}),
    "sized_by_labels": (True, {"output": OutputShape(size_from_num_labels=True)}),
    "num_labels": (1, {"output": OutputShape(num_labels=1)}),
    "classifier_activation": ("sigmoid", {"output": OutputShape(activation="sigmoid")}),
    "token_weights": (True, {"output": OutputShape(token_weights=True)}),
    "positions": ("absolute", {"text": TextInput(positions="absolute")}),
    "fills_length": (True, {"text": TextInput(pad_to_max_length=True)}),
    "lower_case": (True, {"text": TextInput(lowercase=True)}),
    "defaults": ({"a": 1}, {"checkpoint": CheckpointLayout(config_defaults={"a": 1})}),
    "extra_weights": (("head",), {"checkpoint": CheckpointLayout(extra_files=("head",))}),
    "instead_of": (("A",), {"checkpoint": CheckpointLayout(supersedes=("A",))}),
    "adapters_key": ("lora", {"checkpoint": CheckpointLayout(adapters_key="lora")}),
    "adapter_folders": ({"a": "b"}, {"checkpoint": CheckpointLayout(adapter_folders={"a": "b"})}),
    "image_reader": ("m:R", {"extras": ModelExtras(image_processor="m:R")}),
    "late_interaction": ("m:f", {"extras": ModelExtras(late_interaction="m:f")}),
}


def spec(**fields):
    return ArchitectureSpec(name="Odd", target="odd:Odd", tasks=("embed",), **fields)


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_field_is_the_field_of_its_group(name):
    value, groups = FLAT[name]
    with pytest.warns(DeprecationWarning, match=f"ArchitectureSpec: {name} is now"):
        old = spec(**{name: value})
    assert old == spec(**groups)
    if name != "pooling":
        with pytest.warns(DeprecationWarning, match=f"ArchitectureSpec: {name} is now"):
            assert getattr(old, name) == value


def test_flat_fields_join_a_group_that_is_given():
    with pytest.warns(DeprecationWarning, match="positions is now text.positions"):
        mixed = spec(text=TextInput(lowercase=True), positions="absolute")
    assert mixed.text == TextInput(lowercase=True, positions="absolute")
    with pytest.warns(DeprecationWarning, match="num_labels") as caught:
        assert dataclasses.replace(mixed, num_labels=3).output.num_labels == 3
    assert [warning.filename for warning in caught] == [__file__]


def test_an_unknown_field_is_refused_as_before():
    with pytest.raises(TypeError, match="unexpected keyword argument 'pooled'"):
        spec(pooled="MEAN")
    with pytest.raises(AttributeError, match="has no attribute 'pooled'"):
        _ = spec().pooled


def test_published_models_of_a_record_become_separate_records():
    with pytest.warns(DeprecationWarning, match="register_published_models"):
        model = specs.PublishedModel(
            name="odd/odd-*", config={"a": 1}, named="Odd", chat_template="{{ a }}", marks=("m",)
        )
    with pytest.warns(DeprecationWarning, match="published is now PublishedModelSpec"):
        record = spec(published=(model,))
    registry = Registry()
    assert registry.register(record, Origin(plugin="odd", rank="runtime")).spec == spec()
    (entry,) = registry.published_models.entries()
    assert dataclasses.asdict(entry.spec) == {
        **dataclasses.asdict(entry.spec),
        "name": "odd/odd-*",
        "architecture": "Odd",
        "checkpoint_architecture": "Odd",
        "config": {"a": 1},
        "chat_template": "{{ a }}",
        "markers": ("m",),
    }


def describe(name, config):
    return "too odd" if config.get("odd") else {"pooling": PoolingDefaults("CLS")}


def test_a_record_that_stood_in_for_others_is_a_fallback():
    with pytest.warns(DeprecationWarning, match="stands_in_for is now FallbackSpec"):
        record = spec(stands_in_for=("Odd*",), implementation="oddity", describe=f"{__name__}:describe")
    registry = Registry()
    registry.register(record, Origin(plugin="odd", rank="builtin"))
    assert registry.architectures.names() == ()
    chosen = choose_architecture(registry, CheckpointConfig({"architectures": ["OddModel"]}), "auto")
    assert (chosen.architecture.spec.name, chosen.implementation) == ("OddModel", "oddity")
    assert chosen.architecture.spec.pooling == PoolingDefaults("CLS")
    with pytest.raises(Exception, match="too odd"):
        choose_architecture(registry, CheckpointConfig({"architectures": ["OddModel"], "odd": True}), "auto")


def test_a_plugin_with_flat_fields_runs(tmp_path, install_plugin):
    install_plugin(
        "from millpond.plugin.hookspecs import hookimpl\n"
        "from millpond.plugin.specs import ArchitectureSpec\n"
        "@hookimpl\n"
        "def register_architectures():\n"
        "    yield ArchitectureSpec(name='OldModel', target='millpond_models.encoders.bert.model:BertModel',\n"
        "        tasks=('embed',), pooling='MEAN', positions='absolute', defaults={'layer_norm_eps': 1e-12})\n",
        "old",
    )
    from millpond.plugin.manager import PluginManager

    with pytest.warns(DeprecationWarning, match="defaults is now checkpoint.config_defaults; pooling is now"):
        registry = PluginManager(disabled=(), strict=True).registry
    assert registry.architectures.get("OldModel").spec.text.positions == "absolute"
