"""pooler_config: an object, a dict or JSON, checked when the model is loaded."""

import numpy as np
import pytest

from millpond import LLM, InvalidInputError, PoolerConfig, UnknownNameError


@pytest.mark.parametrize(
    "pooler_config",
    [
        PoolerConfig(pooling_type="MEAN", use_activation=False),
        PoolerConfig(seq_pooling_type="MEAN", use_activation=False),
        {"pooling_type": "MEAN", "use_activation": False},
        '{"pooling_type": "MEAN", "use_activation": false}',
        '{"seq_pooling_type": "MEAN", "use_activation": false}',
        {"pooling_type": "poolers/MEAN", "use_activation": False},
    ],
    ids=repr,
)
def test_a_pooler_config_is_an_object_a_dict_or_json(checkpoint, load, pooler_config, vector, prompt):
    llm = load(checkpoint, pooler_config=pooler_config)
    (tokens,) = llm.encode(prompt, pooling_task="token_embed")
    assert llm.model_config.pooler_config.use_activation is False
    assert np.abs(vector(llm) - tokens.outputs.array.mean(0)).max() <= 1e-6


@pytest.mark.parametrize(
    ("pooler_config", "error", "message"),
    [
        ({"pooling_typ": "MEAN"}, InvalidInputError, "pooler_config: Unknown field 'pooling_typ'"),
        ("MEAN", InvalidInputError, "pooler_config: Invalid JSON"),
        (["MEAN"], InvalidInputError, "pooler_config must be a PoolerConfig, a dict or JSON text; got list"),
        ({"pooling_type": "MEDIAN"}, UnknownNameError, r"Unknown pooler 'MEDIAN' .*Available: ALL, CLS, LAST"),
        ({"pooling_type": "mean"}, UnknownNameError, "did you mean 'MEAN'"),
        ({"tok_pooling_type": "NOPE"}, UnknownNameError, "Unknown pooler 'NOPE'"),
        ({"seq_pooling_type": "ALL"}, InvalidInputError, "seq_pooling_type='ALL' does not fit"),
        ({"tok_pooling_type": "MEAN"}, InvalidInputError, "tok_pooling_type='MEAN' does not fit"),
        (
            {"task": "classify"},
            InvalidInputError,
            r"Unsupported task: 'classify' Supported tasks: \('embed', 'token_em",
        ),
        ({"task": "nope"}, InvalidInputError, "Unsupported task: 'nope'"),
        ({"logit_sigma": 0}, InvalidInputError, "logit_sigma cannot be 0"),
    ],
    ids=repr,
)
def test_a_pooler_config_that_does_not_fit_is_refused_when_the_model_is_loaded(
    checkpoint, pooler_config, error, message
):
    with pytest.raises(error, match=message):
        LLM(str(checkpoint), pooler_config=pooler_config)
