"""Texts, vectors and changes of files for tests of pooling files."""

import json

import numpy as np

TEXTS = [
    "a",
    "the cat sat on the mill",
    "rain, snow and wind over the river",
    "zyzzyva",
    "The NIGHT was Cold; the road was long, and the moon (red and small) lay on the lake.",
    "One TWO " * 40,  # over the limit
    "!",
]


ACTIVATIONS = {
    "Tanh": "torch.nn.modules.activation.Tanh",
    "Identity": "torch.nn.modules.linear.Identity",
    "GELU": "torch.nn.modules.activation.GELU",
    "ReLU": "torch.nn.modules.activation.ReLU",
    "SiLU": "torch.nn.modules.activation.SiLU",
    "Sigmoid": "torch.nn.modules.activation.Sigmoid",
}


def ours(llm):
    outputs = llm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    return np.stack([output.outputs.array for output in outputs])


def change(path, **fields):
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | fields))
