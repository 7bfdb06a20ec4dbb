"""Reads the files of sentence-transformers: modules.json, the configs of its modules, and the settings files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond.model.spec import ModuleSettings, RouteSettings
from millpond.types.config import JOINED_BY
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import LateInteraction
from millpond_formats.plugin import LENGTH_FILES, SETTINGS
from millpond_formats.sentence_transformers.chain import (
    Supported,
    after_pooling,
    before_pooling,
    check_chain,
    ends_normalized,
    pooling_of,
    supported_modules,
)
from millpond_formats.sentence_transformers.logit_score import logit_score
from millpond_formats.sentence_transformers.module import (
    DENSE,
    NORMALIZE,
    SPARSE_AUTOENCODER,
    STATIC,
    WITH_WEIGHTS,
    positive,
    read_modules,
)
from millpond_formats.sentence_transformers.multi_vector import MULTI_VECTOR, read_multi_vector
from millpond_formats.sentence_transformers.pooling import SPLADE, check_splade, pooling_types, splade_type
from millpond_formats.sentence_transformers.router import Routes, read_routes
from millpond_formats.sentence_transformers.similarity import (
    TOKEN_SIMILARITIES,
    VECTOR_SIMILARITIES,
    stated_similarity,
)
from millpond_formats.sentence_transformers.transformer_call import template_options, with_max_length
from millpond_formats.sentence_transformers.vectors import check_vectors
from millpond_formats.static import is_static, static_config

MODULES_FILE, CONFIG_FILE = "modules.json", "config.json"
DEFAULT_ACTIVE_DIMS = 8  # the default of "k" in the config.json of a SparseAutoEncoder
COMBINE_ROUTES = "millpond_formats.sentence_transformers.routes:with_routes"  # needs torch
CROSS_ENCODER = "CrossEncoder"
SEQUENCE_CLASSIFICATION = "sequence-classification"  # a value of ``transformer_task``
TRUNCATABLE_TYPES = (None, "SentenceTransformer")  # for which ``truncate_dim`` applies
TASKS = {MULTI_VECTOR: "token_embed", CROSS_ENCODER: "classify"}  # by model type
KEYS = {
    "files.task": "model_type",
    "embedding.truncate_dim": "truncate_dim",
    "embedding.max_active_dims": "max_active_dims",
    "classification.activation": "activation_fn",
}
"""The keys of the settings by path, where they are not obvious."""
DEFAULT_NUM_LABELS = 2  # scores of a last Dense module without ``out_features``


def read_sentence_transformers(repository: Repository) -> tuple[Layer, ...]:
    """Return what the files of sentence-transformers state.

    Raises:
        CheckpointError: If a file is damaged, or specifies something that is not supported.
    """
    return _Files(repository).layers()


def max_length(repository: Repository) -> int | None:
    """Return the maximum number of tokens that the files state; None if they state none."""
    return positive(_Files(repository).limits[1].get("max_seq_length"))


@dataclass(frozen=True)
class _Files:
    """The files of one model, or of one of its routes."""

    repository: Repository

    @cached_property
    def routes(self) -> Routes:
        return read_routes(read_modules(self.repository.path), self.listed)

    @cached_property
    def modules(self) -> tuple[ModuleSettings, ...]:
        route = self.repository.route
        return self.routes.chains[self.routes.main if route is None else route]

    @cached_property
    def pooling(self) -> ModuleSettings | None:
        return pooling_of(self.modules)

    @cached_property
    def splade(self) -> ModuleSettings | None:
        return next((module for module in self.modules if module.type == SPLADE), None)

    @cached_property
    def sparse_autoencoder(self) -> ModuleSettings | None:
        return next((module for module in self.modules if module.type == SPARSE_AUTOENCODER), None)

    @cached_property
    def supported(self) -> Supported:
        return supported_modules(self.repository.registry)

    @property
    def listed(self) -> Path:
        return self.repository.path / MODULES_FILE

    @cached_property
    def folder(self) -> Path:
        """The folder of the transformer: its own folder in modules.json, else the repository."""
        path = self.path_of_weights
        return path if self.lists_static or (path / CONFIG_FILE).exists() else self.repository.path

    @cached_property
    def path_of_weights(self) -> Path:
        """The folder of the module with the weights of the model, else the repository."""
        paths = (module.path for module in self.modules if module.type in WITH_WEIGHTS)
        return next(paths, self.repository.path)

    @cached_property
    def limits(self) -> tuple[str, Mapping[str, Any]]:
        """The name and content of the file with the maximum length and tokenizer options; empty if it is missing."""
        folder = self.path_of_weights if self.path_of_weights.is_dir() else self.repository.path
        name = next((name for name in LENGTH_FILES if (folder / name).exists()), None)
        return ("", {}) if name is None else (name, with_max_length(read_object(folder / name), folder / name))

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        return read_object(self.repository.path / SETTINGS)

    @property
    def model_type(self) -> str | None:
        """The model type in the settings, such as ``SparseEncoder``; None if they do not state it."""
        return _text(self.settings.get("model_type"))

    @property
    def returns_token_vectors(self) -> bool:
        """True if the modules return token vectors; transformer classes ``...ForRetrieval`` project by themselves."""
        return self.model_type == MULTI_VECTOR and self.limits[1].get("transformer_task") != "retrieval"

    def layers(self) -> tuple[Layer, ...]:
        self._check()
        return (self._modules(), self._pooling(), self._limits(), self._active_dims(), self._settings())

    def _check(self) -> None:
        if self.pooling is not None:
            check_chain(self.modules, self.listed, self.supported)
        if self.splade is not None:
            check_splade(self.modules, self.listed)
        if self.returns_token_vectors:
            check_vectors(self.modules, self.listed)

    def _pair_format(self) -> Mapping[str, Any]:
        """Return that the tokenizer joins pairs, if the files are those of a CrossEncoder with a classifier."""
        classifies = self.limits[1].get("transformer_task") == SEQUENCE_CLASSIFICATION
        return {"use_sep_token": True} if classifies and self.model_type == CROSS_ENCODER else {}

    @cached_property
    def lists_static(self) -> bool:
        return any(module.type == STATIC for module in self.modules)

    @cached_property
    def is_static(self) -> bool:
        """True if the model is a table of token embeddings."""
        return self.lists_static or is_static(read_object(self.folder / CONFIG_FILE))

    def _modules(self) -> Layer:
        """The layer of modules.json, with the content for config.json that follows from the modules."""
        return Layer(
            MODULES_FILE,
            {
                "files.folder": None if self.folder == self.repository.path else self.folder,
                "files.config": static_config(self.folder) if self.is_static else None,
                "files.known": {**self._pair_format(), **logit_score(self.modules, self.folder)},
                "files.tokenizer_limits_length": (bool(self.modules) and not self.lists_static) or None,
                "files.routes": self._routes(),
                "modules.listed": self.modules,
                "modules.before": before_pooling(self.modules, self.supported),
                "modules.after": after_pooling(self.modules),
                "embedding.normalizes": self._normalizes(),
                "text.special_tokens": False if self.is_static else None,
                "classification.num_labels": self._num_labels(),
                "retrieval.static_query_weights": self.routes.static_query_weights,
            },
        )

    def _pooling(self) -> Layer:
        module = self.splade or self.pooling
        types: tuple[str, ...] = ()
        if module is not None:
            types = (splade_type(module),) if module is self.splade else pooling_types(module)
        file = MODULES_FILE if module is None or module.type == STATIC else f"{self._relative(module)}/{CONFIG_FILE}"
        include = self.pooling is None or bool(self.pooling.config.get("include_prompt", True))
        pooling = JOINED_BY.join(types) or None
        return Layer(
            file, {"pooler_config.seq_pooling_type": pooling, "prompting.include_prompt": None if include else False}
        )

    def _normalizes(self) -> bool | None:
        """True if the result is normalized; None if the files do not state it."""
        modules = self.modules
        last = modules if self.sparse_autoencoder is None else modules[modules.index(self.sparse_autoencoder) :]
        normalizes = any(module.type == NORMALIZE for module in last)
        if self.pooling is not None:
            return ends_normalized(last)
        if self.returns_token_vectors and modules:
            return normalizes
        return (self.splade is not None and normalizes) or None

    def _limits(self) -> Layer:
        """The layer of the file with the maximum length and tokenizer options."""
        file, limits = self.limits
        modalities = limits.get("modality_config")
        message = modalities.get("message") if isinstance(modalities, Mapping) else None
        message_format = str(message.get("format", "auto")) if isinstance(message, Mapping) else None
        values = {
            "files.max_length": positive(limits.get("max_seq_length")),
            "text.lower_case": bool(limits.get("do_lower_case", False)) or None,
            "text.message_format": None if self.model_type == CROSS_ENCODER else message_format,
            "text.template_settings": template_options(limits),
        }
        keys = {"max_length": "max_seq_length", "lower_case": "do_lower_case", "message_format": "modality_config"}
        return Layer(file, values, {path: key for path in values if (key := keys.get(path.partition(".")[2]))})

    def _active_dims(self) -> Layer:
        """The number of non-zero weights that a SparseAutoEncoder keeps, unless the settings state another one."""
        module = self.sparse_autoencoder
        if module is None or positive(self.settings.get("max_active_dims")) is not None:
            return Layer(CONFIG_FILE, {})
        path = "embedding.max_active_dims"
        number = positive(module.config.get("k", DEFAULT_ACTIVE_DIMS))
        return Layer(f"{self._relative(module)}/{CONFIG_FILE}", {path: number}, {path: "k"})

    def _settings(self) -> Layer:
        """The layer of the settings of the whole model."""
        settings, kind = self.settings, self.settings.get("model_type")
        similarity = stated_similarity(settings.get("similarity_fn_name"), self.repository.path / SETTINGS)
        values = {
            "files.task": TASKS.get(self.model_type or ""),
            "prompting.prompts": self._prompts() or None,
            "prompting.default_name": _text(settings.get("default_prompt_name")),
            "embedding.similarity": similarity if similarity in VECTOR_SIMILARITIES else None,
            "embedding.truncate_dim": positive(settings.get("truncate_dim")) if kind in TRUNCATABLE_TYPES else None,
            "embedding.max_active_dims": positive(settings.get("max_active_dims")),
            "classification.activation": _text(settings.get("activation_fn")) or None,
            "retrieval.late_similarity": similarity if similarity in TOKEN_SIMILARITIES else None,
            "retrieval.late_interaction": self._late_interaction() if self.model_type == MULTI_VECTOR else None,
        }
        return Layer(
            SETTINGS, values, {**KEYS, **({"files.task": f"model_type {kind}"} if kind == CROSS_ENCODER else {})}
        )

    def _prompts(self) -> Mapping[str, str]:
        prompts = self.settings.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
            message = f"'prompts' in {self.repository.path / SETTINGS} should map names to text"
            raise CheckpointError(message)
        return prompts

    def _num_labels(self) -> int | None:
        """The number of scores of a CrossEncoder that computes them with Dense modules; None for other models."""
        dense = [module for module in after_pooling(self.modules) if module.type == DENSE]
        if not dense or self.model_type != CROSS_ENCODER:
            return None
        out_features = dense[-1].config.get("out_features")
        return out_features if isinstance(out_features, int) else DEFAULT_NUM_LABELS

    def _routes(self) -> RouteSettings | None:
        names = self.routes.by_input_type
        if len(set(names.values())) == 1 and None in names:
            return None
        return RouteSettings(by_input_type=names, main=self.routes.main, origin=MODULES_FILE, target=COMBINE_ROUTES)

    def _late_interaction(self) -> LateInteraction:
        file, limits = self.limits
        return read_multi_vector(self.modules, self._prompts(), limits, self.folder / (file or LENGTH_FILES[0]))

    def _relative(self, module: ModuleSettings) -> str:
        return module.path.relative_to(self.repository.path).as_posix()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
