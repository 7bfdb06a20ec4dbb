"""Reads config.json as transformers does: classes, pooling, lengths, dtype, prompts and adapters."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from millpond.model.config_source import ConfigSource
from millpond.model.layers import DEFAULT, Layer
from millpond.plugin.blame import is_foreign
from millpond.types.compute import DTYPES
from millpond.types.config import CheckpointConfig
from millpond_checkpoints.headers import TensorHeader, read_headers
from millpond_formats.transformers.labels import (
    LABELS_PATH,
    choose_activation,
    count_labels,
    overrides_activation,
    read_labels,
)
from millpond_formats.transformers.lengths import read_lengths
from millpond_formats.transformers.pooling import classifier_pooling, named_pooling
from millpond_formats.transformers.sizes import check_sizes
from millpond_formats.transformers.tokenizer import read_tokenizer

FILE = "config.json"
POOLING_PATH, PROMPTS_PATH = "pooler_config.seq_pooling_type", "prompting.prompts"
PROMPTS_KEY = "task_instructions"
STEPS_KEY = "text_steps"  # our own, as of io_processor_plugin
HIDDEN_SIZE_KEYS = ("hidden_size", "n_embd", "dim")
logger = logging.getLogger(__name__)


def read_config(source: ConfigSource) -> Iterator[Layer]:
    """Yield what config.json states, and the dtype of the weights if it states none.

    Raises:
        CheckpointError: If a value is invalid, too large or not supported.
    """
    config, spec, files = source.config, source.architecture.spec, source.repository.layers
    headers = read_headers(source.repository.transformer_path)
    check_sizes(config, headers, is_foreign=is_foreign(source.architecture) or is_foreign(source.converter))
    num_labels = spec.output.num_labels or count_labels(config, files)
    activation = choose_activation(config, files, num_labels)
    is_request = overrides_activation(source.overrides, source.stored, config)
    yield Layer(activation.name, activation.values, activation.keys, is_request=is_request)
    yield _pooling(source)
    yield Layer(
        FILE,
        {
            LABELS_PATH: num_labels,
            "classification.labels": read_labels(config, num_labels),
            **_matryoshka(config),
            PROMPTS_PATH: _texts(config.get(PROMPTS_KEY)),
            "prompting.adapters": _names(config, spec.checkpoint.adapters_key),
            "prompting.io_processor_plugin": config.get("io_processor_plugin"),
            "text.steps": _names(config, STEPS_KEY),
            "files.lengths": read_lengths(source),
            "files.hidden_size": _hidden_size(config),
        },
        {PROMPTS_PATH: PROMPTS_KEY},
    )
    yield read_dtype(config, headers)
    yield read_tokenizer(source.repository)


def _pooling(source: ConfigSource) -> Layer:
    """The layer of the pooling type, which other files take precedence over."""
    config, key = source.config, source.architecture.spec.pooling.config_key
    if source.repository.layers.find(POOLING_PATH) is not None:
        return Layer(FILE, {})
    classifies = "classify" in source.tasks and source.converter is None
    of_classifier = classifier_pooling(config) if classifies else None
    if of_classifier is not None or not key:
        return Layer(FILE, {POOLING_PATH: of_classifier}, {POOLING_PATH: "classifier_pooling"})
    return Layer(FILE, {POOLING_PATH: named_pooling(config, key)}, {POOLING_PATH: key})


def read_dtype(config: CheckpointConfig, headers: Sequence[TensorHeader]) -> Layer:
    """Return a layer with the dtype of a checkpoint: the one in config.json, else that of the first tensor."""
    for key in ("dtype", "torch_dtype"):
        name = str(config.get(key)).removeprefix("torch.")
        if name in DTYPES:
            return Layer(FILE, {"dtype": name}, {"dtype": key})
    for header in headers:
        if header.dtype in DTYPES:
            return Layer("the weights", {"dtype": header.dtype}, {"dtype": header.name})
        if header.dtype == "float64":
            logger.warning("the weights (%s) are float64: running in float32", header.name)
            return Layer(f"the weights ({header.name}): float64, which is not supported", {"dtype": "float32"})
    return Layer(DEFAULT, {"dtype": "float32"})


def _hidden_size(config: CheckpointConfig) -> int | None:
    parts = (config, config.of_text)
    size = next((value for part in parts for key in HIDDEN_SIZE_KEYS if (value := part.get(key))), None)
    return size if isinstance(size, int) else None


def _matryoshka(config: CheckpointConfig) -> dict[str, Any]:
    """The values on truncation of embeddings; ``is_matryoshka: false`` takes precedence over the dimensions."""
    stated, trained = config.get("is_matryoshka"), config.get("matryoshka_dimensions") or ()
    return {
        "embedding.is_matryoshka": False if stated is False else bool(trained or stated) or None,
        "embedding.matryoshka_dimensions": (trained,) if isinstance(trained, int) else tuple(trained),
    }


def _texts(stated: object) -> dict[str, str]:
    """The texts of an object of config.json by name."""
    texts: CheckpointConfig | dict[str, Any] = stated if isinstance(stated, CheckpointConfig) else {}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _names(config: CheckpointConfig, key: str | None) -> tuple[str, ...] | None:
    """The names that config.json lists under a key; None if it lists none."""
    names = None if key is None else config.get(key)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else None
