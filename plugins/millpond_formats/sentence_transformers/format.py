"""Reads the files of sentence-transformers: modules.json, the configs of its modules, and the settings files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import (
    CheckpointFacts,
    ClassifierFacts,
    EmbeddingFacts,
    ModuleChain,
    ModuleFacts,
    PoolingFacts,
    PromptFacts,
    RetrievalFacts,
    RouteFacts,
    TextFacts,
    stated,
    value_of,
)
from millpond.types.config import Choice
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
from millpond_formats.sentence_transformers.similarity import stated_similarity
from millpond_formats.sentence_transformers.transformer_call import template_options, with_max_length
from millpond_formats.sentence_transformers.vectors import check_vectors
from millpond_formats.static import is_static, static_config

MODULES_FILE, CONFIG_FILE = "modules.json", "config.json"
DEFAULT_ACTIVE_DIMS = 8  # the default of "k" in the config.json of a SparseAutoEncoder
COMBINE_ROUTES = "millpond_formats.sentence_transformers.routes:with_routes"  # needs torch
CROSS_ENCODER = "CrossEncoder"
SEQUENCE_CLASSIFICATION = "sequence-classification"  # a value of ``transformer_task``
TRUNCATABLE_MODEL_TYPES = (None, "SentenceTransformer")  # for which ``truncate_dim`` applies
DEFAULT_NUM_LABELS = 2  # of a last Dense module without ``out_features``


def read_sentence_transformers(repository: Repository) -> CheckpointFacts:
    """Return the facts in the files of sentence-transformers.

    Raises:
        CheckpointError: If a file is damaged, or specifies something that is not supported.
    """
    return _Files(repository).facts()


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
    def modules(self) -> tuple[ModuleFacts, ...]:
        route = self.repository.route
        return self.routes.chains[self.routes.main if route is None else route]

    @cached_property
    def pooling(self) -> ModuleFacts | None:
        return pooling_of(self.modules)

    @cached_property
    def splade(self) -> ModuleFacts | None:
        return next((module for module in self.modules if module.type == SPLADE), None)

    @cached_property
    def sparse_autoencoder(self) -> ModuleFacts | None:
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
        path = next((module.path for module in self.modules if module.type in WITH_WEIGHTS), None)
        lists_static = any(module.type == STATIC for module in self.modules)
        return path if path is not None and (lists_static or (path / CONFIG_FILE).exists()) else self.repository.path

    @cached_property
    def limits(self) -> tuple[str, Mapping[str, Any]]:
        """The name and content of the file with the maximum length and tokenizer options; empty if it is missing."""
        folder = next((module.path for module in self.modules if module.type in WITH_WEIGHTS), self.repository.path)
        folder = folder if folder.is_dir() else self.repository.path
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

    def facts(self) -> CheckpointFacts:
        self._check()
        lists_static = any(module.type == STATIC for module in self.modules)
        static = lists_static or is_static(read_object(self.folder / CONFIG_FILE))
        return CheckpointFacts(
            folder=None if self.folder == self.repository.path else self.folder,
            config=static_config(self.folder) if static else None,
            known={**self._pair_format(), **logit_score(self.modules, self.folder)},
            task=self._task(),
            pooling=self._pooling(),
            modules=ModuleChain(
                listed=self.modules,
                before=before_pooling(self.modules, self.supported),
                after=after_pooling(self.modules),
            ),
            text=self._text_facts(lists_static=lists_static, static=static),
            prompts=self._prompts(),
            embedding=self._embedding(),
            classifier=self._classifier(),
            retrieval=self._retrieval(),
        )

    def _check(self) -> None:
        if self.pooling is not None:
            check_chain(self.modules, self.listed, self.supported)
        if self.splade is not None:
            check_splade(self.modules, self.listed)
        if self.returns_token_vectors:
            check_vectors(self.modules, self.listed)

    def _task(self) -> Choice | None:
        if self.model_type == MULTI_VECTOR:
            return Choice(value="token_embed", origin=f"{SETTINGS} (model_type)")
        origin = f"{SETTINGS} (model_type {CROSS_ENCODER})"
        return Choice(value="classify", origin=origin) if self.model_type == CROSS_ENCODER else None

    def _pair_format(self) -> Mapping[str, Any]:
        """Return that the tokenizer joins pairs, if the files are those of a CrossEncoder with a classifier."""
        classifies = self.limits[1].get("transformer_task") == SEQUENCE_CLASSIFICATION
        return {"use_sep_token": True} if classifies and self.model_type == CROSS_ENCODER else {}

    def _pooling(self) -> PoolingFacts:
        module = self.splade or self.pooling
        types: tuple[str, ...] = ()
        if module is not None:
            types = (splade_type(module),) if module is self.splade else pooling_types(module)
        where = MODULES_FILE if module is None or module.type == STATIC else f"{self._relative(module)}/{CONFIG_FILE}"
        include = self.pooling is None or bool(self.pooling.config.get("include_prompt", True))
        return PoolingFacts(
            types=stated(types or None, where),
            normalize=stated(self._normalizes(), MODULES_FILE),
            include_prompt=stated(None if include else False, where),
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

    def _text_facts(self, *, lists_static: bool, static: bool) -> TextFacts:
        file, limits = self.limits
        modalities = limits.get("modality_config")
        message = modalities.get("message") if isinstance(modalities, Mapping) else None
        message_format = str(message.get("format", "auto")) if isinstance(message, Mapping) else None
        return TextFacts(
            max_length=stated(positive(limits.get("max_seq_length")), f"{file} (max_seq_length)"),
            tokenizer_limits_length=stated((bool(self.modules) and not lists_static) or None, MODULES_FILE),
            lower_case=stated(bool(limits.get("do_lower_case", False)) or None, f"{file} (do_lower_case)"),
            special_tokens=stated(False if static else None, MODULES_FILE),
            message_format=stated(
                None if self.model_type == CROSS_ENCODER else message_format, f"{file} (modality_config)"
            ),
            template_settings=template_options(limits),
        )

    def _prompts(self) -> PromptFacts:
        prompts = self.settings.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
            message = f"'prompts' in {self.repository.path / SETTINGS} should map names to text"
            raise CheckpointError(message)
        default = _text(self.settings.get("default_prompt_name"))
        return PromptFacts(named=stated(prompts or None, SETTINGS), default=stated(default, SETTINGS))

    def _embedding(self) -> EmbeddingFacts:
        truncatable = self.settings.get("model_type") in TRUNCATABLE_MODEL_TYPES
        truncate_dim = positive(self.settings.get("truncate_dim")) if truncatable else None
        max_active_dims, origin = positive(self.settings.get("max_active_dims")), f"{SETTINGS} (max_active_dims)"
        if max_active_dims is None and self.sparse_autoencoder is not None:
            max_active_dims = positive(self.sparse_autoencoder.config.get("k", DEFAULT_ACTIVE_DIMS))
            origin = f"{self._relative(self.sparse_autoencoder)}/{CONFIG_FILE} (k)"
        similarity = stated_similarity(self.settings.get("similarity_fn_name"), self.repository.path / SETTINGS)
        return EmbeddingFacts(
            similarity=stated(similarity, SETTINGS),
            truncate_dim=stated(truncate_dim, f"{SETTINGS} (truncate_dim)"),
            max_active_dims=stated(max_active_dims, origin),
        )

    def _classifier(self) -> ClassifierFacts:
        dense = [module for module in after_pooling(self.modules) if module.type == DENSE]
        labels: int | None = None
        if dense and self.model_type == CROSS_ENCODER:
            out_features = dense[-1].config.get("out_features")
            labels = out_features if isinstance(out_features, int) else DEFAULT_NUM_LABELS
        activation = _text(self.settings.get("activation_fn")) or None
        return ClassifierFacts(
            num_labels=stated(labels, MODULES_FILE), activation=stated(activation, f"{SETTINGS} (activation_fn)")
        )

    def _retrieval(self) -> RetrievalFacts:
        names = self.routes.by_input_type
        single = len(set(names.values())) == 1 and None in names
        routes = RouteFacts(by_input_type=names, main=self.routes.main, origin=MODULES_FILE, target=COMBINE_ROUTES)
        late = self._late_interaction() if self.model_type == MULTI_VECTOR else None
        return RetrievalFacts(
            late_interaction=stated(late, SETTINGS),
            static_query_weights=self.routes.static_query_weights,
            routes=RouteFacts() if single else routes,
        )

    def _late_interaction(self) -> LateInteraction:
        file, limits = self.limits
        prompts = value_of(self._prompts().named, {})
        return read_multi_vector(self.modules, prompts, limits, self.folder / (file or LENGTH_FILES[0]))

    def _relative(self, module: ModuleFacts) -> str:
        return module.path.relative_to(self.repository.path).as_posix()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
