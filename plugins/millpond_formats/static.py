"""Static embeddings: models that are one table of token vectors, often without a config.json. Does not import torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.model.files import read_object
from millpond.types.errors import CheckpointError
from millpond_checkpoints.headers import read_headers

ARCHITECTURE = "StaticEmbedding"
MODEL2VEC_ARCHITECTURE = "StaticModel"
EMBEDDING_KEYS = ("embedding.weight", "embeddings")  # of sentence-transformers and of model2vec
MAPPING_KEY = "mapping"  # of a tensor with the row of each token, [vocabulary]
MAX_LENGTH = 1_000_000  # tokens; practically unlimited, since the model has no positions


def is_static(config: Mapping[str, Any]) -> bool:
    """True if config.json names an architecture of static embeddings."""
    names = config.get("architectures")
    return isinstance(names, list) and bool({MODEL2VEC_ARCHITECTURE, ARCHITECTURE}.intersection(map(str, names)))


def static_config(folder: Path) -> dict[str, Any]:
    """Build a config.json from the shape of the embeddings and the maximum length in tokenizer.json.

    Args:
        folder: The folder of the weights and tokenizer.json; the values of a config.json in it take precedence.

    Raises:
        CheckpointError: If the embeddings are missing.
    """
    shapes = {header.name: header.shape for header in read_headers(folder)}
    shape = next((shapes[name] for name in EMBEDDING_KEYS if len(shapes.get(name, ())) == len(("rows", "size"))), None)
    if shape is None:
        available = ", ".join(shapes) or "no safetensors tensors"
        message = f"{folder} must contain token embeddings, {' or '.join(EMBEDDING_KEYS)}; it contains: {available}"
        raise CheckpointError(message)
    truncation = read_object(folder / "tokenizer.json").get("truncation")
    max_length = truncation.get("max_length") if isinstance(truncation, dict) else None
    vocab_size = shapes.get(MAPPING_KEY, shape)[0]
    return {
        "vocab_size": vocab_size,
        "hidden_size": shape[1],
        "seq_length": max_length or MAX_LENGTH,
        **read_object(folder / "config.json"),
        "architectures": [ARCHITECTURE],
    }
