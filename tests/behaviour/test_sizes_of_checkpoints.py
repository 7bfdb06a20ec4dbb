"""Sizes in config.json that do not fit the weights."""

import pytest

from millpond.model.layers import Layers
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_checkpoints.headers import TensorHeader
from millpond_formats.transformers.labels import MAX_LABELS, count_labels
from millpond_formats.transformers.sizes import check_sizes

HEADERS = [TensorHeader("a", "float32", (10, 8)), TensorHeader("b", "float32", (8,))]


def check(config, headers=HEADERS, *, is_foreign=False):
    check_sizes(CheckpointConfig(config), headers, is_foreign=is_foreign)


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "intermediate_size", "type_vocab_size"])
def test_a_width_above_the_number_of_values_is_refused(key):
    check({key: 2**24})
    with pytest.raises(CheckpointError, match=rf"text_config\.{key}=1000000000, but .* only 88 values"):
        check({"text_config": {key: 10**9}})


def test_widths_are_not_compared_without_headers_or_for_plugins():
    check({"hidden_size": 10**9}, [])
    check({"hidden_size": 10**9}, is_foreign=True)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1e-5, 1, 10**30])
def test_an_epsilon_that_is_not_small_is_refused(value):
    check({"layer_norm_eps": 1e-12, "layer_norm_epsilon": 0.1, "rms_norm_eps": None})
    with pytest.raises(CheckpointError, match="expected a small positive number"):
        check({"layer_norm_eps": value})


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "n_inner", "max_position_embeddings"])
@pytest.mark.parametrize("value", [-1, float("nan"), 2.5, "x"])
def test_a_size_that_is_not_a_size_is_refused(key, value):
    check({key: None})
    check({key: value}, is_foreign=True)
    with pytest.raises(CheckpointError, match=rf"vision_config\.{key}={value!r}; expected an integer of at least"):
        check({"vision_config": {key: value}})


def test_a_hidden_size_of_zero_is_refused():
    check({"type_vocab_size": 0})
    with pytest.raises(CheckpointError, match="hidden_size=0; expected an integer of at least 1"):
        check({"hidden_size": 0})


def test_very_many_labels_are_refused():
    with pytest.raises(CheckpointError, match=f"1000000000 labels .* at most {MAX_LABELS}"):
        count_labels(CheckpointConfig({"num_labels": 10**9}), Layers())
