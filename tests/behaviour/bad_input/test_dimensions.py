"""Test `dimensions`: applied for Matryoshka models, refused for others."""

import numpy as np
import pytest

from millpond import InvalidInputError, PoolingParams


def test_dimensions_are_refused_for_models_not_trained_for_them(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"does not support matryoshka.*hf_overrides=\{'is_matryoshka': True\}"):
        tiny_bert.embed("a", pooling_params=PoolingParams(dimensions=8))
    assert tiny_bert.embed("a", pooling_params=PoolingParams(dimensions=32))[0].outputs.hidden_size == 32


@pytest.mark.parametrize("trained", [{"is_matryoshka": True}, {"matryoshka_dimensions": [8, 16]}], ids=str)
def test_dimensions_keep_the_first_numbers(checkpoint, load, tiny_bert, trained, arrays):
    llm = load(checkpoint, hf_overrides=trained)
    whole = arrays(tiny_bert.embed("a", pooling_params=PoolingParams(use_activation=False)))[0]
    for task in ("embed", "token_embed"):
        (output,) = llm.encode("a", PoolingParams(dimensions=8), pooling_task=task)
        assert output.outputs.array.shape[-1] == 8
    (output,) = llm.embed("a", pooling_params=PoolingParams(dimensions=8))
    assert np.abs(output.outputs.array - whole[:8] / np.linalg.norm(whole[:8])).max() <= 1e-6
    with pytest.raises(InvalidInputError, match=r"only supports dimensions in range \[1, 32\], got 33"):
        llm.embed("a", pooling_params=PoolingParams(dimensions=33))


@pytest.mark.parametrize("trained", [[8, 16], 8])
def test_dimensions_not_in_the_list_are_refused(checkpoint, load, trained):
    llm = load(checkpoint, hf_overrides={"matryoshka_dimensions": trained})
    with pytest.raises(InvalidInputError, match=r"only supports Matryoshka dimensions \[8.*\], got 9"):
        llm.embed("a", pooling_params=PoolingParams(dimensions=9))
    assert llm.embed("a", pooling_params=PoolingParams(dimensions=8))[0].outputs.hidden_size == 8


def test_default_dimensions(checkpoint, load):
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True}, pooler_config={"dimensions": 4})
    assert llm.embed("a")[0].outputs.hidden_size == 4
    assert llm.embed("a", pooling_params=PoolingParams(dimensions=5))[0].outputs.hidden_size == 5
