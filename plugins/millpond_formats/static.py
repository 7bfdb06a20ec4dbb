"""Static embeddings: models that are one table of tokens, of which no config.json says what they are. Without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.loading.files import read_headers, read_object
from millpond.types.errors import CheckpointError

ARCHITECTURE = "StaticEmbedding"
THEIRS = "StaticModel"  # what model2vec calls it
TABLES = ("embedding.weight", "embeddings")  # in files of sentence-transformers, and of model2vec
MAPPING = "mapping"
UNLIMITED = 1_000_000  # tokens: there are no positions


def is_static(config: Mapping[str, Any]) -> bool:
    """True if config.json names a table of tokens."""
    names = config.get("architectures")
    return isinstance(names, list) and bool({THEIRS, ARCHITECTURE}.intersection(map(str, names)))


def static_config(folder: Path) -> dict[str, Any]:
    """What a config.json would say: the rows of the table, their dimensions, and how long a text may be.

    Args:
        folder: The folder of the weights and of tokenizer.json; a config.json in it counts more.

    Raises:
        CheckpointError: If there is no table.
    """
    shapes = {header.name: header.shape for header in read_headers(folder)}
    table = next((shapes[name] for name in TABLES if len(shapes.get(name, ())) == len(("rows", "size"))), None)
    if table is None:
        there = ", ".join(shapes) or "no tensors in safetensors"
        message = f"{folder} should hold a table of tokens, {' or '.join(TABLES)}; it holds: {there}"
        raise CheckpointError(message)
    truncation = read_object(folder / "tokenizer.json").get("truncation")
    longest = truncation.get("max_length") if isinstance(truncation, dict) else None
    rows = shapes.get(MAPPING, table)[0]
    return {
        "vocab_size": rows,
        "hidden_size": table[1],
        "seq_length": longest or UNLIMITED,
        **read_object(folder / "config.json"),
        "architectures": [ARCHITECTURE],
    }
