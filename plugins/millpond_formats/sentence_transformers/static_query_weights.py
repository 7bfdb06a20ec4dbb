"""The SparseStaticEmbedding module of sentence-transformers: one weight per token, which embeds queries."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from millpond.model.files import read_object
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights
    from millpond.model.tokenizer import Tokenizer

WEIGHT = "weight"


class TokenWeights(nn.Module):
    """One weight for each token of the vocabulary, [vocabulary], float32."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens]."""
        return self.weight[input_ids]


def load_static_query_weights(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> TokenWeights:
    """Load the weights from a tensor, or from a JSON file that maps tokens to weights.

    Raises:
        CheckpointError: If the weights are missing, or the tensor does not have one weight per token.
    """
    size, file_name = int(ctx.config.vocab_size), config.get("path")
    if isinstance(file_name, str) and file_name.endswith(".json"):
        return TokenWeights(_read_token_weights(weights.folder / Path(file_name).name, size, ctx.tokenizer))
    tensor = weights.find(WEIGHT)
    if tensor is None or list(tensor.shape) != [size]:
        problem = "it is missing" if tensor is None else f"its shape is {list(tensor.shape)}"
        message = f"{weights.path} must contain {WEIGHT!r} with one number for each of the {size} tokens; {problem}"
        raise CheckpointError(message)
    return TokenWeights(weights.get(WEIGHT, [size]))


def _read_token_weights(path: Path, size: int, tokenizer: "Tokenizer | None") -> Tensor:
    entries = read_object(path)
    if not entries or tokenizer is None:
        message = f"{path} should map tokens to weights; it is missing or empty, or the model has no tokenizer"
        raise CheckpointError(message)
    weights = torch.zeros(size, dtype=torch.float32)
    for token, weight in entries.items():
        token_id = tokenizer.backend.token_to_id(token)
        if token_id is not None and token_id < size and isinstance(weight, int | float):
            weights[token_id] = weight
    return weights
