"""Small random checkpoints for tests: config.json, weights, a tokenizer, the files of sentence-transformers.

They need neither network access nor transformers, and are the same bytes in every run. Every parameter is random,
including biases and norms, so that a loader that ignores one of them does not pass because its default is right.
"""

from pathlib import Path
from typing import Any

from millpond.model.architecture import backbone_names
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.target import imported
from millpond.testing.files import Shape, random_tensors, write_config, write_weights
from millpond.testing.sentence_transformers import (
    DenseLayer,
    Layout,
    write_dense,
    write_sentence_transformers,
    write_sparse_autoencoder,
    write_sparse_encoder,
)
from millpond.testing.tokenizers import byte_tokenizer, vocabulary, write_tokenizer
from millpond.types.errors import UnknownNameError

__all__ = [
    "DenseLayer",
    "Layout",
    "Shape",
    "byte_tokenizer",
    "random_tensors",
    "tiny",
    "vocabulary",
    "write_config",
    "write_dense",
    "write_sentence_transformers",
    "write_sparse_autoencoder",
    "write_sparse_encoder",
    "write_tokenizer",
    "write_weights",
]


def tiny(architecture: str, path: Path | str, **options: Any) -> Path:
    """Write a small random checkpoint of an architecture, with the function ``extras.tiny`` of its record.

    If the architecture has no such function, that of its family's backbone is used: ``BertForMaskedLM`` is written by
    the function of ``BertModel``.

    Args:
        architecture: The name in config.json.
        path: The folder to write; created if it does not exist.
        **options: Arguments of that function. The built-in text models accept ``seed``, ``dtype``, ``prefix`` (of all
            tensor names), ``shards`` (the number of safetensors files), ``tokenizer`` (False for no tokenizer) and
            ``num_labels``; any other option replaces a key of config.json, and None removes the key.

    Returns:
        The folder.

    Raises:
        UnknownNameError: If no plugin writes checkpoints of this architecture.
    """
    architectures = get_plugin_manager().registry.architectures
    for name in (architecture, *backbone_names(architecture)):
        entry = architectures.find(name)
        if entry is not None and entry.spec.extras.tiny is not None:
            folder: Path = imported(entry.spec.extras.tiny)(architecture, Path(path), **options)
            return folder
    known = [entry.spec.name for entry in architectures.entries() if entry.spec.extras.tiny is not None]
    message = (
        f"No plugin writes tiny checkpoints of {architecture!r}. Available: {', '.join(known)}. "
        "Use write_config, random_tensors, write_weights and write_tokenizer for other architectures"
    )
    raise UnknownNameError(message)
