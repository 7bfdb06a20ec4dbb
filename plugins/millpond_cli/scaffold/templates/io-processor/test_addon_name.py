"""Tests of the IO processor addon_name."""

import numpy as np
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import IOProcessorConformance

TEXTS = ["a cup of tea", "the old mill by the river"]


class TestAddonNameProcessor(IOProcessorConformance):
    """The requirements of Millpond's plugin API."""

    name = "addon_name"
    items = ({"texts": ["tea"]}, {"texts": TEXTS}, {"texts": [[5, 6, 7], "tea"]})
    chunked = (({"texts": ["tea"]}, 1), ({"texts": TEXTS * 20}, 40))
    refused = ({"texts": []}, {"texts": "tea"}, {"texts": [None]}, {})


def test_the_output_is_the_mean_of_the_vectors(tmp_path):
    """Compare with vectors of the task embed."""
    with LLM(str(tiny("BertModel", tmp_path)), io_processor_plugin="addon_name") as llm:
        (output,) = llm.encode({"data": {"texts": TEXTS}}, pooling_task="plugin")
        vectors = [it.outputs.array for it in llm.embed(TEXTS)]
    np.testing.assert_allclose(output.outputs, np.mean(vectors, axis=0), atol=1e-6)
