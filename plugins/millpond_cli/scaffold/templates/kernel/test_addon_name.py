"""Tests of the kernel rms_norm.addon_name."""

import numpy as np
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import KernelConformance

TEXTS = ["tea", "the old mill", "a long road to a town by the lake"]


class TestAddonNameNorm(KernelConformance):
    """The requirements of Millpond's plugin API, and comparison with the reference of the op."""

    name = "rms_norm.addon_name"


def test_a_model_has_the_same_results_with_it(tmp_path):
    """Compare with the kernel that Millpond selects."""
    folder = str(tiny("Qwen2Model", tmp_path))
    with LLM(folder, kernels={"rms_norm": "addon_name"}) as llm, LLM(folder) as other:
        for vector, expected in zip(llm.embed(TEXTS), other.embed(TEXTS), strict=True):
            np.testing.assert_allclose(vector.outputs.array, expected.outputs.array, atol=1e-5)
