"""Reads the files of sentence-transformers: modules.json, the modules that it names, and the settings beside it."""

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
from millpond_formats.sentence_transformers.transformer_call import as_called, template_options
from millpond_formats.sentence_transformers.vectors import check_vectors
from millpond_formats.static import is_static, static_config

LISTED, FOLDER = "modules.json", "config.json"
ACTIVE = 8  # the features of a SparseAutoEncoder that are not 0, where its config.json does not specify it
CROSS_ENCODER = "CrossEncoder"
OF_TEXTS = (None, "SentenceTransformer")  # kinds of models whose vectors may be cut to ``truncate_dim``
DEFAULT_LABELS = 2  # of a last Dense module that does not specify them


def read_sentence_transformers(repository: Repository) -> CheckpointFacts:
    """The model as sentence-transformers describes it.

    Raises:
        CheckpointError: If a file is damaged, or asks for what is not supported.
    """
    return _Files(repository).facts()


def max_length(repository: Repository) -> int | None:
    """The most tokens of a text that the files state; None if they state none."""
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
        return self.repository.path / LISTED

    @cached_property
    def folder(self) -> Path:
        """The folder of the transformer, where modules.json puts it in one of its own."""
        path = next((module.path for module in self.modules if module.type in WITH_WEIGHTS), None)
        names_table = any(module.type == STATIC for module in self.modules)
        return path if path is not None and (names_table or (path / FOLDER).exists()) else self.repository.path

    @cached_property
    def limits(self) -> tuple[str, Mapping[str, Any]]:
        """How the tokenizer and the transformer are called, and the name of the file; empty if there is none."""
        folder = next((module.path for module in self.modules if module.type in WITH_WEIGHTS), self.repository.path)
        folder = folder if folder.is_dir() else self.repository.path
        name = next((name for name in LENGTH_FILES if (folder / name).exists()), None)
        return ("", {}) if name is None else (name, as_called(read_object(folder / name), folder / name))

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        return read_object(self.repository.path / SETTINGS)

    @property
    def kind(self) -> str | None:
        """The kind of model that the folder says it is, such as ``SparseEncoder``."""
        return _text(self.settings.get("model_type"))

    @property
    def gives_vectors(self) -> bool:
        """True if the result is the vectors of tokens; models of classes ``...ForRetrieval`` project by themselves."""
        return self.kind == MULTI_VECTOR and self.limits[1].get("transformer_task") != "retrieval"

    def facts(self) -> CheckpointFacts:
        self._check()
        named_table = any(module.type == STATIC for module in self.modules)
        table = named_table or is_static(read_object(self.folder / FOLDER))
        return CheckpointFacts(
            folder=None if self.folder == self.repository.path else self.folder,
            config=static_config(self.folder) if table else None,
            known=logit_score(self.modules, self.folder),
            task=self._task(),
            pooling=self._pooling(),
            modules=ModuleChain(
                listed=self.modules,
                before=before_pooling(self.modules, self.supported),
                after=after_pooling(self.modules),
            ),
            text=self._text_facts(named_table=named_table, table=table),
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
        if self.gives_vectors:
            check_vectors(self.modules, self.listed)

    def _task(self) -> Choice | None:
        if self.kind == MULTI_VECTOR:
            return Choice(value="token_embed", origin=f"{SETTINGS} (model_type)")
        says = f"{SETTINGS} says that it is a {CROSS_ENCODER}"
        return Choice(value="classify", origin=says) if self.kind == CROSS_ENCODER else None

    def _pooling(self) -> PoolingFacts:
        module = self.splade or self.pooling
        types: tuple[str, ...] = ()
        if module is not None:
            types = (splade_type(module),) if module is self.splade else pooling_types(module)
        where = LISTED if module is None or module.type == STATIC else f"{self._relative(module)}/{FOLDER}"
        include = self.pooling is None or bool(self.pooling.config.get("include_prompt", True))
        return PoolingFacts(
            types=stated(types or None, where),
            normalize=stated(self._normalizes(), LISTED),
            include_prompt=stated(None if include else False, where),
        )

    def _normalizes(self) -> bool | None:
        """True if the last result is normalised; None where no file states it, and it is not plain vectors."""
        modules = self.modules
        last = modules if self.sparse_autoencoder is None else modules[modules.index(self.sparse_autoencoder) :]
        normalizes = any(module.type == NORMALIZE for module in last)
        if self.pooling is not None:
            return ends_normalized(last)
        if self.gives_vectors and modules:
            return normalizes
        return (self.splade is not None and normalizes) or None

    def _text_facts(self, *, named_table: bool, table: bool) -> TextFacts:
        file, limits = self.limits
        modalities = limits.get("modality_config")
        message = modalities.get("message") if isinstance(modalities, Mapping) else None
        written = str(message.get("format", "auto")) if isinstance(message, Mapping) else None
        return TextFacts(
            max_length=stated(positive(limits.get("max_seq_length")), f"{file} (max_seq_length)"),
            tokenizer_binds=stated((bool(self.modules) and not named_table) or None, LISTED),
            lower_case=stated(bool(limits.get("do_lower_case", False)) or None, f"{file} (do_lower_case)"),
            special_tokens=stated(False if table else None, LISTED),
            message_format=stated(None if self.kind == CROSS_ENCODER else written, f"{file} (modality_config)"),
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
        kept = positive(self.settings.get("truncate_dim")) if self.settings.get("model_type") in OF_TEXTS else None
        active = positive(self.settings.get("max_active_dims"))
        most, where = active, f"{SETTINGS} (max_active_dims)"
        if active is None and self.sparse_autoencoder is not None:
            most, where = (
                positive(self.sparse_autoencoder.config.get("k", ACTIVE)),
                f"{self._relative(self.sparse_autoencoder)}/{FOLDER} (k)",
            )
        similarity = stated_similarity(self.settings.get("similarity_fn_name"), self.repository.path / SETTINGS)
        return EmbeddingFacts(
            similarity=stated(similarity, SETTINGS),
            truncate_dim=stated(kept, f"{SETTINGS} (truncate_dim)"),
            max_active_dims=stated(most, where),
        )

    def _classifier(self) -> ClassifierFacts:
        dense = [module for module in after_pooling(self.modules) if module.type == DENSE]
        labels: int | None = None
        if dense and self.kind == CROSS_ENCODER:
            width = dense[-1].config.get("out_features")
            labels = width if isinstance(width, int) else DEFAULT_LABELS
        activation = _text(self.settings.get("activation_fn")) or None
        return ClassifierFacts(
            num_labels=stated(labels, LISTED), activation=stated(activation, f"{SETTINGS} (activation_fn)")
        )

    def _retrieval(self) -> RetrievalFacts:
        routes = self.routes.by_input_type
        is_one = len(set(routes.values())) == 1 and None in routes
        late = self._late_interaction() if self.kind == MULTI_VECTOR else None
        return RetrievalFacts(
            late_interaction=stated(late, SETTINGS),
            static_query_weights=self.routes.static_query_weights,
            routes=RouteFacts() if is_one else RouteFacts(by_input_type=routes, main=self.routes.main, origin=LISTED),
        )

    def _late_interaction(self) -> LateInteraction:
        file, limits = self.limits
        prompts = value_of(self._prompts().named, {})
        return read_multi_vector(self.modules, prompts, limits, self.folder / (file or LENGTH_FILES[0]))

    def _relative(self, module: ModuleFacts) -> str:
        return module.path.relative_to(self.repository.path).as_posix()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
