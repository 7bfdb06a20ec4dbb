"""The SparseStaticEmbedding module of sentence-transformers: a weight of each token, by which queries are embedded."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from millpond.loading.files import read_object
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.tokenizer import Tokenizer
    from millpond.loading.weights import ModuleWeights

WEIGHT = "weight"


class TokenWeights(nn.Module):
    """A weight of each token of the vocabulary, [vocabulary], float32."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens]."""
        return self.weight[input_ids]


def load_static_query_weights(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> TokenWeights:
    """The weights: a tensor, or a file of words.

    Raises:
        CheckpointError: If there are none, or not one for each token.
    """
    size, named = int(ctx.config.vocab_size), config.get("path")
    if isinstance(named, str) and named.endswith(".json"):
        return TokenWeights(_of_words(weights.folder / Path(named).name, size, ctx.tokenizer))
    tensor = weights.find(WEIGHT)
    if tensor is None or list(tensor.shape) != [size]:
        found = "none" if tensor is None else f"of the shape {list(tensor.shape)}"
        message = f"{weights.path} should hold {WEIGHT!r}, one number for each of the {size} tokens; there is {found}"
        raise CheckpointError(message)
    return TokenWeights(weights.get(WEIGHT, [size]))


def _of_words(path: Path, size: int, tokenizer: "Tokenizer | None") -> Tensor:
    words = read_object(path)
    if not words or tokenizer is None:
        message = f"{path} should hold the weights of words; it is missing or empty, or the model has no tokenizer"
        raise CheckpointError(message)
    table = torch.zeros(size, dtype=torch.float32)
    for word, weight in words.items():
        token = tokenizer.backend.token_to_id(word)
        if token is not None and token < size and isinstance(weight, int | float):
            table[token] = weight
    return table
