"""Small random checkpoints for tests: config.json, weights, a tokenizer, the files of sentence-transformers.

They need neither network access nor transformers, and are the same bytes in every run. Every parameter is random,
including biases and norms, so that a loader that ignores one of them does not pass because its default is right.
"""

from pathlib import Path
from typing import Any

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
BACKBONES = ("Model", "ForCausalLM", "ForConditionalGeneration")  # suffixes of architectures


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
    architectures = get_plugin_manager().registry.architectures.entries()
    writers = {it.spec.name: it.spec.extras.tiny for it in architectures if it.spec.extras.tiny is not None}
    relatives = [name for name in writers if architecture.startswith(_family(name))]
    name = architecture if architecture in writers else max(relatives, key=_closeness, default=None)
    if name is not None:
        folder: Path = imported(writers[name])(architecture, Path(path), **options)
        return folder
    message = (
        f"No plugin writes tiny checkpoints of {architecture!r}. Available: {', '.join(writers)}. "
        "Use write_config, random_tensors, write_weights and write_tokenizer for other architectures"
    )
    raise UnknownNameError(message)


def _family(architecture: str) -> str:
    """The name without the suffix of a backbone: ``Bert`` for ``BertModel``."""
    suffix = next((it for it in BACKBONES if architecture.endswith(it)), "")
    return architecture.removesuffix(suffix)


def _closeness(relative: str) -> tuple[int, bool]:
    return len(_family(relative)), relative.endswith(BACKBONES[0])
