"""Tests of AddonNameModel."""

import math

import numpy as np
from millpond.testing.conformance import ArchitectureConformance
from safetensors.numpy import load_file


class TestAddonNameModel(ArchitectureConformance):
    """The requirements of Millpond's plugin API, on the tiny checkpoint."""

    name = "AddonNameModel"

    def reference(self, folder, prompts, task):
        """Return the hidden states computed with numpy, independently of the model."""
        if task != "token_embed":
            return None
        weights = {name: values.astype(np.float64) for name, values in load_file(folder / "model.safetensors").items()}
        return [forward(weights, prompt) for prompt in prompts]


def forward(weights, token_ids):
    """Compute the model for one sequence."""
    hidden_states = weights["embeddings.word_embeddings.weight"][token_ids]
    centered = hidden_states - hidden_states.mean(axis=1, keepdims=True)
    normalized = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
    values = normalized * weights["norm.weight"] + weights["norm.bias"]
    values = values @ weights["up.weight"].T + weights["up.bias"]
    values = values * (1 + np.vectorize(math.erf)(values / math.sqrt(2))) / 2
    return hidden_states + values @ weights["down.weight"].T + weights["down.bias"]
