"""Tests of ADDON_NAME pooling."""

import numpy as np
from millpond import LLM, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import PoolerConformance

TEXTS = ["tea", "the old mill", "a long road to a town by the lake"]


class TestAddonNamePooling(PoolerConformance):
    """The requirements of Millpond's plugin API."""

    name = "ADDON_NAME"


def test_vectors_equal_those_computed_from_token_vectors(tmp_path):
    """Compare with numpy, for texts of one batch."""
    raw = PoolingParams(use_activation=False)
    with LLM(str(tiny("BertModel", tmp_path)), pooler_config={"pooling_type": "ADDON_NAME"}) as llm:
        pooled = llm.embed(TEXTS, pooling_params=raw)
        tokens = llm.encode(TEXTS, raw, pooling_task="token_embed")
    for vector, rows in zip(pooled, tokens, strict=True):
        expected = (rows.outputs.array.min(axis=0) + rows.outputs.array.max(axis=0)) / 2
        np.testing.assert_allclose(vector.outputs.array, expected, atol=1e-5)
