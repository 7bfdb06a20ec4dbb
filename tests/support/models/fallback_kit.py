"""Small random models of transformers for tests of the fallback, and the results of their classes."""

import importlib
from types import MappingProxyType

import numpy as np
import torch

from millpond import PoolingParams

VOCABULARY = 99
LENGTHS = (1, 2, 3, 40, 5, 8, 33, 13, 1, 21)
BARE = PoolingParams(use_activation=False)
SHAPE = MappingProxyType(
    {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_labels": 3,
    }
)


FUNNEL = {"hidden_size": None, "num_hidden_layers": None, "num_attention_heads": None, "intermediate_size": None} | {
    "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1], "num_decoder_layers": 1
}  # fmt: skip


def prompts_of(lengths, *, end=2, seed=0):
    """Return random token IDs that end with EOS, which some classes require."""
    random = np.random.default_rng(seed)
    return [[*random.integers(5, VOCABULARY, size=length - 1).tolist(), end] for length in lengths]


PROMPTS = prompts_of(LENGTHS)


def write_random(name, folder, **settings):
    """Write a model of transformers with random parameters; return the folder and the model."""
    library = importlib.import_module("transformers")
    kind = getattr(library, name)
    config = kind.config_class(**{key: it for key, it in {**SHAPE, **settings}.items() if it is not None})
    config.use_cache = False
    model = kind(config).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(0)
    for path, parameter in model.named_parameters():
        around = 1.0 if "norm" in path.lower() and path.endswith("weight") else 0.0
        scale = 0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
        parameter.copy_(around * (parameter.dim() == 1) + scale * torch.randn(parameter.shape, generator=generator))
    library.logging.disable_progress_bar()
    model.save_pretrained(folder / name)
    return folder / name, model


def error(actual, expected):
    """Return the largest difference, relative to the largest expected value."""
    assert [rows.shape for rows in actual] == [tuple(rows.shape) for rows in expected]
    worst = max(float(np.abs(one - np.asarray(other)).max()) for one, other in zip(actual, expected, strict=True))
    return worst / max(float(np.abs(np.asarray(rows)).max()) for rows in expected)


def asked(llm, task, prompts=PROMPTS, params=BARE):
    outputs = llm.encode(prompts, pooling_task=task, pooling_params=params, use_tqdm=False)
    return [output.outputs.array for output in outputs]


def alone(model, prompts=PROMPTS):
    """Return the logits or hidden states of the class for each prompt alone."""
    with torch.inference_mode():
        outputs = [model(torch.tensor([ids])) for ids in prompts]
    return [(output.logits if "logits" in output else output[0])[0] for output in outputs]
