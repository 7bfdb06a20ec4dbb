"""References of sentence-transformers: embeddings, sparse embeddings, token embeddings, cross-encoders."""

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond_verify.parts import Part, Results, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNLIMITED_FROM = 10**9  # tokenizers without a maximum length state a larger number
POOLING_TYPES = {
    "cls": "CLS",
    "lasttoken": "LAST",
    "max": "MAX",
    "mean": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
}
SPLADE_TYPES = {
    ("max", "relu"): "SPLADE_MAX",
    ("sum", "relu"): "SPLADE_SUM",
    ("max", "log1p_relu"): "SPLADE_MAX_LOG",
    ("sum", "log1p_relu"): "SPLADE_SUM_LOG",
}


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions:
    """Options for loading a reference.

    Attributes:
        device: The device.
        trust_remote_code: True to run code from the folder of the model.
        max_length: The maximum number of tokens for references that have none.
    """

    device: str
    trust_remote_code: bool
    max_length: int


class SentenceReference:
    """A model of sentence-transformers in float32, which computes one input at a time, without padding."""

    class_name = ""

    def __init__(self, folder: Path, options: ReferenceOptions) -> None:
        load = getattr(importlib.import_module("sentence_transformers"), self.class_name)
        with quiet():
            model: Any = load(
                str(folder),
                device=options.device,
                local_files_only=True,
                trust_remote_code=options.trust_remote_code,
            )
        self.model = model.float()

    @property
    def label(self) -> str:
        """The library and the class."""
        return f"sentence-transformers {version('sentence-transformers')}, {self.class_name}"

    def settings(self) -> Settings:
        """Return the settings of the model."""
        modules = {type(module).__name__: module for module in self.model}
        pooling = modules.get("Pooling")
        return Settings(
            max_length=limit_of(self.model.max_seq_length),
            pooling=_pooling_type(modules),
            normalize=None if pooling is None else "Normalize" in modules,
            dense=None if "Router" in modules else _dense_layers(self.model),
            prompts={name: text for name, text in self.model.prompts.items() if text},
            include_prompt=None if pooling is None else pooling.include_prompt,
            similarity=self.model.similarity_fn_name,
            truncate_dim=getattr(self.model, "truncate_dim", None) or 0,
        )

    def run(self, part: Part) -> Results:
        """Return the results for a part."""
        arrays = self.encode(part)
        return Results(arrays=arrays, token_ids=() if part.has_images or part.input_type else self._token_ids(part))

    def encode(self, part: Part) -> "Sequence[NDArray[Any]]":
        """Return the array of each input."""
        rows = self._encode_method(part)(part.data, batch_size=1, **self._options(part))
        return [np.asarray(it, dtype=np.float32) for it in rows]

    def _encode_method(self, part: Part) -> Any:
        """Return the method of the model for the input type of a part."""
        return getattr(self.model, f"encode_{part.input_type}" if part.input_type else "encode")

    def _options(self, part: Part) -> dict[str, Any]:
        """Return the arguments of ``encode``; the empty prompt replaces the default prompt."""
        return {"show_progress_bar": False, "prompt": self._prompt(part)}

    def _prompt(self, part: Part) -> str:
        return "" if part.prompt_name is None else self.model.prompts[part.prompt_name]

    def _token_ids(self, part: Part) -> list[list[int]]:
        prompt = self._prompt(part)
        return [ids_of(self.model.preprocess([it], prompt=prompt)) for it in part.data]


class EmbeddingReference(SentenceReference):
    """A SentenceTransformer."""

    class_name = "SentenceTransformer"


class SparseReference(SentenceReference):
    """A SparseEncoder."""

    class_name = "SparseEncoder"

    def encode(self, part: Part) -> "Sequence[NDArray[Any]]":
        """Return the dense form of each vector, [vocab_size]."""
        options = self._options(part) | {"convert_to_sparse_tensor": False, "save_to_cpu": True}
        return [rows.numpy() for rows in self._encode_method(part)(part.data, batch_size=1, **options)]


class MultiVectorReference(SentenceReference):
    """A MultiVectorEncoder, which returns a vector for each token that takes part in the late interaction."""

    class_name = "MultiVectorEncoder"

    def encode(self, part: Part) -> "Sequence[NDArray[Any]]":
        """Return the rows of each text, [num_vectors, dim]."""
        method = self._encode_method(part)
        options = {"batch_size": 1, "show_progress_bar": False, "convert_to_numpy": True}
        return [np.asarray(method([text], **options)[0], dtype=np.float32) for text in part.data]


class ScoreReference(SentenceReference):
    """A CrossEncoder with one score per pair."""

    class_name = "CrossEncoder"

    def settings(self) -> Settings:
        """Return the settings of the model."""
        return Settings(
            max_length=limit_of(self.model.max_seq_length),
            dense=_dense_layers(self.model) or None,
            activation=type(self.model.activation_fn).__name__.lower(),
        )

    def encode(self, part: Part) -> "Sequence[NDArray[Any]]":
        """Return the score of each pair."""
        scores = self.model.predict(part.data, batch_size=1, **self._options(part))
        return [np.asarray(score, dtype=np.float32) for score in scores]


def ids_of(features: Mapping[str, Any]) -> list[int]:
    """Return the token ids of one text without padding."""
    ids, mask = features["input_ids"].reshape(-1), features.get("attention_mask")
    return [int(it) for it in (ids if mask is None else ids[mask.reshape(-1).bool()])]


def limit_of(length: Any) -> int | None:
    """Return a maximum length; None if it is unlimited or not stated."""
    return int(length) if isinstance(length, int | float) and 0 < length < UNLIMITED_FROM else None


def _pooling_type(modules: Mapping[str, Any]) -> str | None:
    if "SpladePooling" in modules:
        splade = modules["SpladePooling"]
        return SPLADE_TYPES.get((splade.pooling_strategy, splade.activation_function))
    if "Pooling" not in modules:
        return None
    modes = modules["Pooling"].pooling_mode
    return "+".join(POOLING_TYPES.get(mode, mode) for mode in ([modes] if isinstance(modes, str) else modes))


def _dense_layers(model: Any) -> tuple[str, ...]:
    return tuple(
        f"{it.in_features} to {it.out_features}, {type(it.activation_function).__name__.lower()}"
        for it in model
        if type(it).__name__ == "Dense"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the progress bars and warnings of transformers; a difference that they announce appears in the results."""
    library = importlib.import_module("transformers.utils.logging")
    logger, shown = logging.getLogger("transformers"), library.is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            library.enable_progress_bar()
