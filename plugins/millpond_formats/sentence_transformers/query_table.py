"""The weights by which queries are embedded without a model: one for each token of the vocabulary."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from millpond.loading.files import read_object
from millpond.loading.weights import NAMES, check_finite, read_tensors
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.loading.tokenizer import Tokenizer

WEIGHT = "weight"


def read_query_table(folder: Path, size: int, tokenizer: "Tokenizer | None") -> NDArray[np.float32]:
    """The weights in a folder of a SparseStaticEmbedding module, [vocabulary]: a tensor, or a file of words.

    Args:
        folder: The module's folder.
        size: The tokens of the vocabulary.
        tokenizer: Says which token a word is.

    Raises:
        CheckpointError: If there are none, or not so many.
    """
    named = read_object(folder / "config.json").get("path")
    if isinstance(named, str) and named.endswith(".json"):
        return _of_words(folder / Path(named).name, size, tokenizer)
    path = next((folder / name for name in NAMES if (folder / name).exists()), None)
    if path is None:
        message = f"{folder} is a SparseStaticEmbedding module without weights: it should hold {' or '.join(NAMES)}"
        raise CheckpointError(message)
    tensor = dict(read_tensors(path, allow_pickle=False)).get(WEIGHT)
    if tensor is None or list(tensor.shape) != [size]:
        found = "none" if tensor is None else f"of the shape {list(tensor.shape)}"
        message = f"{path} should hold {WEIGHT!r}, one number for each of the {size} tokens; there is {found}"
        raise CheckpointError(message)
    check_finite(WEIGHT, tensor, path)
    table: NDArray[np.float32] = tensor.float().numpy()
    return table


def _of_words(path: Path, size: int, tokenizer: "Tokenizer | None") -> NDArray[np.float32]:
    words = read_object(path)
    if not words or tokenizer is None:
        message = f"{path} should hold the weights of words; it is missing or empty, or the model has no tokenizer"
        raise CheckpointError(message)
    table = np.zeros(size, dtype=np.float32)
    for word, weight in words.items():
        token = tokenizer.backend.token_to_id(word)
        if token is not None and token < size and isinstance(weight, int | float):
            table[token] = weight
    return table
