"""What the files of sentence-transformers say of a model. Types are matched by their last name, never imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millpond.loading.files import read_object
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.chain import (
    after_pooling,
    before_pooling,
    check_chain,
    ends_normalized,
    pooling_of,
)
from millpond_formats.sentence_transformers.module import (
    POOLED,
    SPARSE_CODE,
    STATIC,
    TOKENS,
    TRANSFORMERS,
    WITH_WEIGHTS,
    Module,
    positive,
    read_modules,
)
from millpond_formats.sentence_transformers.router import Routes, read_routes
from millpond_formats.sentence_transformers.similarity import stated_similarity
from millpond_formats.sentence_transformers.transformer_call import as_called

LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
FEATURES, ACTIVE = 512, 8  # how many it has, and how many are not 0, where its config.json does not say
MULTI_VECTOR = "MultiVectorEncoder"
OF_TEXTS = (None, "SentenceTransformer")  # kinds of models whose vectors may be cut to ``truncate_dim``
FEWER = "HierarchicalTokenPooling"
IN_ORDER = ("Dense", "Normalize", FEWER)  # behind a transformer whose tokens' vectors are the result
ANYWHERE = ("Dropout", "MultiVectorMask")
POOLING_TYPES = {
    "cls": "CLS",
    "cls_token": "CLS",
    "lasttoken": "LAST",
    "max": "MAX",
    "max_tokens": "MAX",
    "mean": "MEAN",
    "mean_tokens": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
    "weightedmean_tokens": "WEIGHTED_MEAN",
}
SPLADE_TYPES = {
    ("max", "relu"): "SPLADE_MAX",
    ("sum", "relu"): "SPLADE_SUM",
    ("max", "log1p_relu"): "SPLADE_MAX_LOG",
    ("sum", "log1p_relu"): "SPLADE_SUM_LOG",
}
OLD_ORDER = {
    mode: place
    for place, mode in enumerate(
        ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    )
}


@dataclass(frozen=True, kw_only=True)
class SentenceTransformersFiles:
    """The model as sentence-transformers describes it; all empty for a folder without these files.

    Attributes:
        modules: modules.json, in order; of a model with routes, those of one.
        routes: The route of each input type, "query" or "document", and of None where a call does not specify it; empty
            where all texts take the same.
        main_route: The name of the route that stands for the model; empty for a model without routes.
        pooling_types: The names of the pooling types that are on, in the order in which their results are joined.
        include_prompt: Whether the tokens of a prompt are pooled too.
        normalize: Whether the result is normalised; None if there is no Pooling module, nor vectors of tokens. Of
            weights of tokens, as SPLADE gives them, it is True or None.
        before_pooling: The modules that change the vectors of tokens before they are pooled, in order.
        after_pooling: The modules after pooling, in order, without a Normalize at the end.
        code: The module that makes what is pooled sparse; None for none.
        max_seq_length: The most tokens, from the file ``length_file``.
        length_file: The name of that file.
        do_lower_case: Whether text is lower-cased before it is tokenised.
        prompts: Named prompts.
        default_prompt_name: The prompt that sentence-transformers applies by itself.
        similarity: The name of the similarity the model was trained for.
        max_active_dims: The most weights of a sparse vector that are kept, by the settings or else by ``code``; None
            for all.
        model_type: What kind of model the folder says it is, such as ``SparseEncoder``.
        activation_fn: The dotted name of the activation of a CrossEncoder's scores.
        message_format: How each text is written as a message by the chat template: "flat", "structured" or "auto";
            None where texts are read as they are.
        query_table: The module that queries are embedded by without the model, by a weight of each token; None where
            they go through the model too.
        truncate_dim: The dimensions that are kept of an embedding where a call does not specify it; None for all.
    """

    modules: tuple[Module, ...] = ()
    routes: Mapping[str | None, str] = field(default_factory=dict)
    main_route: str = ""
    pooling_types: tuple[str, ...] = ()
    include_prompt: bool = True
    normalize: bool | None = None
    before_pooling: tuple[Module, ...] = ()
    after_pooling: tuple[Module, ...] = ()
    code: Module | None = None
    max_seq_length: int | None = None
    length_file: str | None = None
    do_lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str | None = None
    max_active_dims: int | None = None
    model_type: str | None = None
    activation_fn: str | None = None
    message_format: str | None = None
    query_table: Module | None = None
    truncate_dim: int | None = None

    @property
    def dense(self) -> tuple[Module, ...]:
        """The Dense modules after pooling, in order."""
        return tuple(module for module in self.after_pooling if module.type == "Dense")

    @property
    def transformer_path(self) -> Path | None:
        """The folder of the transformer itself, where modules.json puts it in one of its own."""
        return next((module.path for module in self.modules if module.type in WITH_WEIGHTS), None)

    @property
    def is_static(self) -> bool:
        """Whether the model is a table of tokens."""
        return any(module.type == STATIC for module in self.modules)


def read_sentence_transformers(folder: Path, route: str | None = None) -> SentenceTransformersFiles:
    """Read modules.json, the files it names, and the files beside it.

    Args:
        folder: The folder of the model.
        route: Of a model with routes, the one whose modules are read; None for the main one.
    """
    listed = folder / "modules.json"
    routes = read_routes(read_modules(folder), listed)
    modules = routes.chains[routes.main if route is None else route]
    pooling = pooling_of(modules)
    if pooling is not None:
        check_chain(modules, listed)
    splade = next((module for module in modules if module.type == "SpladePooling"), None)
    if splade is not None:
        _check_splade(modules, listed)
    code = next((module for module in modules if module.type == SPARSE_CODE), None)
    transformer = next((module.path for module in modules if module.type in WITH_WEIGHTS), folder)
    length_file, limits = _read_limits(transformer if transformer.is_dir() else folder)
    settings = read_object(folder / "config_sentence_transformers.json")
    # Models of a class that ends in ForRetrieval project and normalise by themselves.
    of_tokens = settings.get("model_type") == MULTI_VECTOR and limits.get("transformer_task") != "retrieval"
    if of_tokens:
        _check_vectors(modules, listed)
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        message = f"'prompts' in {folder / 'config_sentence_transformers.json'} should map names to text"
        raise CheckpointError(message)
    return SentenceTransformersFiles(
        modules=modules,
        routes=_distinct(routes),
        main_route=routes.main,
        pooling_types=(_splade_type(splade),) if splade else () if pooling is None else _pooling_types(pooling),
        include_prompt=pooling is None or bool(pooling.config.get("include_prompt", True)),
        normalize=_normalizes(modules, code, plain=bool(pooling or (of_tokens and modules))),
        before_pooling=before_pooling(modules),
        after_pooling=after_pooling(modules),
        code=code,
        max_seq_length=positive(limits.get("max_seq_length")),
        length_file=length_file,
        do_lower_case=bool(limits.get("do_lower_case", False)),
        prompts=prompts,
        default_prompt_name=_text(settings.get("default_prompt_name")),
        similarity=stated_similarity(settings.get("similarity_fn_name"), folder / "config_sentence_transformers.json"),
        max_active_dims=positive(settings.get("max_active_dims")) or _active(code),
        model_type=_text(settings.get("model_type")),
        activation_fn=_text(settings.get("activation_fn")),
        message_format=_message_format(limits.get("modality_config")),
        query_table=routes.query_table,
        truncate_dim=positive(settings.get("truncate_dim")) if settings.get("model_type") in OF_TEXTS else None,
    )


def _distinct(routes: Routes) -> Mapping[str | None, str]:
    """The routes by input type; empty where there is one for all."""
    found = routes.by_input_type
    return {} if len(set(found.values())) == 1 and None in found else found


def _normalizes(modules: tuple[Module, ...], code: Module | None, *, plain: bool) -> bool | None:
    """Whether the last result is normalised; None where nobody says, and it is not ``plain`` vectors."""
    last = modules if code is None else modules[modules.index(code) :]
    if plain:
        return ends_normalized(last) if pooling_of(modules) else "Normalize" in [module.type for module in last]
    return (any(it.type == "SpladePooling" for it in modules) and any(it.type == "Normalize" for it in last)) or None


def _active(code: Module | None) -> int | None:
    return None if code is None else positive(code.config.get("k", ACTIVE))


def code_size(code: Module) -> int:
    """The features of a module that makes vectors sparse."""
    return positive(code.config.get("hidden_dim", FEATURES)) or FEATURES


def _check_vectors(modules: tuple[Module, ...], path: Path) -> None:
    """Refuse a chain that means something else than: project the vectors of tokens, normalise them, make them fewer."""
    known, behind = (*IN_ORDER, *ANYWHERE), modules[1:]
    for module in behind:
        if module.type not in known:
            message = (
                f"{path} names a module {module.type} behind the transformer, which is not known there: without it the "
                f"results would not be those of the model. Known are {', '.join(known)}"
            )
            raise CheckpointError(message)
        read = module.config.get("module_input_name", TOKENS)
        if module.type == "Dense" and read != TOKENS:
            message = f"{path} names a Dense module that reads {read!r}: of vectors of tokens, only {TOKENS!r} is known"
            raise CheckpointError(message)
    ordered = [module.type for module in behind if module.type in IN_ORDER]
    masks = [place for place, module in enumerate(behind) if module.type == "MultiVectorMask"]
    pooled = [place for place, module in enumerate(behind) if module.type == FEWER]
    if ordered != sorted(ordered, key=IN_ORDER.index) or (pooled and max(masks, default=0) > pooled[0]):
        message = (
            f"{path} names the modules {', '.join(module.type for module in modules)} in this order; known is "
            f"{', then '.join(IN_ORDER)}, and MultiVectorMask before the last of these"
        )
        raise CheckpointError(message)


def _check_splade(modules: tuple[Module, ...], path: Path) -> None:
    """Refuse a chain that means something else than: logits of a masked language model, SPLADE, and normalise."""
    types = [module.type for module in modules]
    known = types[:1] in [[name] for name in TRANSFORMERS] and types[1:2] == ["SpladePooling"]
    if not known or set(types[2:]) - {"Normalize"}:
        message = (
            f"{path} names the modules {', '.join(types)}: of those with SpladePooling, only one Transformer, "
            "SpladePooling behind it, and Normalize behind that are known; without the others the results would not be "
            "those of the model"
        )
        raise CheckpointError(message)
    for module in modules[2:]:
        if module.config.get("module_input_name", POOLED) != POOLED:
            message = (
                f"{path} names a Normalize module that reads {module.config['module_input_name']!r}, not {POOLED!r}"
            )
            raise CheckpointError(message)


def _splade_type(splade: Module) -> str:
    strategy, activation = (
        splade.config.get(key, default)
        for key, default in (("pooling_strategy", "max"), ("activation_function", "relu"))
    )
    found = (
        SPLADE_TYPES.get((strategy, activation)) if isinstance(strategy, str) and isinstance(activation, str) else None
    )
    if found is None:
        message = (
            f"{splade.path / 'config.json'} asks for pooling_strategy {strategy!r} and activation_function "
            f"{activation!r}; known are max and sum, relu and log1p_relu"
        )
        raise CheckpointError(message)
    return found


def _pooling_types(pooling: Module) -> tuple[str, ...]:
    if pooling.type == STATIC:
        return ("MEAN",)
    named = pooling.config.get("pooling_mode")
    if named is not None:
        modes = named if isinstance(named, list) and named else [named]
    else:
        flags = [key for key, on in pooling.config.items() if key.startswith("pooling_mode_") and on is True]
        modes = [key.removeprefix("pooling_mode_") for key in flags]
        # Sentence-transformers joins them in an order of its own; with none on, it takes the mean.
        modes = sorted(modes, key=lambda mode: OLD_ORDER.get(mode, len(OLD_ORDER))) or ["mean"]
    return tuple(_pooling_type(mode, pooling) for mode in modes)


def _pooling_type(mode: object, pooling: Module) -> str:
    if not isinstance(mode, str) or mode not in POOLING_TYPES:
        message = (
            f"{pooling.path / 'config.json'} asks for the pooling mode {mode!r}; known are "
            f"{', '.join(sorted(POOLING_TYPES))}. Choose a pooling type with pooler_config={{'pooling_type': ...}}"
        )
        raise CheckpointError(message)
    return POOLING_TYPES[mode]


def _read_limits(folder: Path) -> tuple[str | None, dict[str, Any]]:
    for name in LENGTH_FILES:
        if (folder / name).exists():
            return name, as_called(read_object(folder / name), folder / name)
    return None, {}


def _message_format(modalities: object) -> str | None:
    said = modalities.get("message") if isinstance(modalities, Mapping) else None
    return str(said.get("format", "auto")) if isinstance(said, Mapping) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
