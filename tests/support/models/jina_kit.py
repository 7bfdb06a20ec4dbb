"""Small jina-embeddings-v3 checkpoints, and their weights with merged adapters."""

from functools import partial

import torch

from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts

VOCABULARY = len(vocabulary("roberta"))


prompts_of = partial(random_prompts, VOCABULARY)


LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
NAMES = (
    ("emb_ln", "embeddings.LayerNorm"),
    ("encoder.layers", "layers"),
    ("mixer.out_proj", "self_attn.o_proj"),
    ("norm1", "post_attention_layernorm"),
    ("norm2", "post_mlp_layernorm"),
)


ORIGINAL = ".parametrizations.weight.original"


def jina(path, **settings):
    return tiny("XLMRobertaModel", path, position_embedding_type="rotary", **settings)


def merged(tensors, task, scale):
    """Return the weights with one adapter merged: W + scale * B A, and E + scale * A B for embeddings."""
    plain = {name: tensor for name, tensor in tensors.items() if ".parametrizations." not in name}
    for name in tensors:
        if name.endswith(ORIGINAL):
            stem = name.removesuffix("original")
            a, b = tensors[f"{stem}0.lora_A"][task], tensors[f"{stem}0.lora_B"][task]
            product = torch.einsum("vr,rh->vh", a, b) if "embeddings" in name else torch.einsum("ri,or->oi", a, b)
            plain[name.removesuffix(ORIGINAL) + ".weight"] = tensors[name] + scale * product
    return plain
