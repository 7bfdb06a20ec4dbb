"""What the files of sentence-transformers say of a model. Types are matched by their last name, never imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millpond.errors import CheckpointError
from millpond.loading.files import inside, read_json, read_object
from millpond.loading.similarity import stated_similarity
from millpond.loading.transformer_call import as_called

LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
FAMILIES = ("sentence_transformers.", "pylate.")
TRANSFORMERS = ("Transformer", "MLMTransformer", "CLIPModel")
STATIC = "StaticEmbedding"  # a table of tokens, and their mean
WITH_WEIGHTS = (*TRANSFORMERS, STATIC)
BEFORE_POOLING = (*TRANSFORMERS, "Dropout")
SPARSE_CODE = "SparseAutoEncoder"  # makes one pooled vector sparse
FEATURES, ACTIVE = 512, 8  # how many it has, and how many are not 0, where its config.json does not say
AFTER_POOLING = ("Dense", "Normalize", "Dropout", SPARSE_CODE)
MULTI_VECTOR = "MultiVectorEncoder"
OF_TEXTS = (None, "SentenceTransformer")  # kinds of models whose vectors may be cut to ``truncate_dim``
FEWER = "HierarchicalTokenPooling"
IN_ORDER = ("Dense", "Normalize", FEWER)  # behind a transformer whose tokens' vectors are the result
ANYWHERE = ("Dropout", "MultiVectorMask")
TOKENS = "token_embeddings"
ROUTER, QUERY_TABLE = "Router", "SparseStaticEmbedding"
QUERY, DOCUMENT = "query", "document"
POOLED = "sentence_embedding"
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
class Module:
    """One line of modules.json.

    Attributes:
        type: The class name alone, such as ``Pooling``.
        path: The folder of its files.
        config: What its config.json holds.
    """

    type: str
    path: Path
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SentenceTransformersFiles:
    """The model as sentence-transformers describes it; all empty for a folder without these files.

    Attributes:
        modules: modules.json, in order.
        pooling_types: The names of the pooling types that are on, in the order in which their results are joined.
        include_prompt: Whether the tokens of a prompt are pooled too.
        normalize: Whether the result is normalised; None if there is no Pooling module, nor vectors of tokens. Of
            weights of tokens, as SPLADE gives them, it is True or None.
        dense: The Dense modules after pooling, in order.
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
    pooling_types: tuple[str, ...] = ()
    include_prompt: bool = True
    normalize: bool | None = None
    dense: tuple[Module, ...] = ()
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
    def transformer_path(self) -> Path | None:
        """The folder of the transformer itself, where modules.json puts it in one of its own."""
        return next((module.path for module in self.modules if module.type in WITH_WEIGHTS), None)

    @property
    def is_static(self) -> bool:
        """Whether the model is a table of tokens."""
        return any(module.type == STATIC for module in self.modules)


def read_sentence_transformers(folder: Path) -> SentenceTransformersFiles:
    """Read modules.json, the files it names, and the files beside it."""
    modules, query_table = _routed(_read_modules(folder), folder / "modules.json")
    pooling = next((module for module in modules if module.type in {"Pooling", STATIC}), None)
    if pooling is not None:
        _check_chain(modules, modules.index(pooling), folder / "modules.json")
    splade = next((module for module in modules if module.type == "SpladePooling"), None)
    if splade is not None:
        _check_splade(modules, folder / "modules.json")
    code = next((module for module in modules if module.type == SPARSE_CODE), None)
    transformer = next((module.path for module in modules if module.type in WITH_WEIGHTS), folder)
    length_file, limits = _read_limits(transformer if transformer.is_dir() else folder)
    settings = read_object(folder / "config_sentence_transformers.json")
    # Models of a class that ends in ForRetrieval project and normalise by themselves.
    of_tokens = settings.get("model_type") == MULTI_VECTOR and limits.get("transformer_task") != "retrieval"
    if of_tokens:
        _check_vectors(modules, folder / "modules.json")
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        message = f"'prompts' in {folder / 'config_sentence_transformers.json'} should map names to text"
        raise CheckpointError(message)
    return SentenceTransformersFiles(
        modules=modules,
        pooling_types=(_splade_type(splade),) if splade else () if pooling is None else _pooling_types(pooling),
        include_prompt=pooling is None or bool(pooling.config.get("include_prompt", True)),
        normalize=_normalizes(modules, plain=bool(pooling or (of_tokens and modules))),
        dense=tuple(module for module in modules if module.type == "Dense"),
        code=code,
        max_seq_length=_positive(limits.get("max_seq_length")),
        length_file=length_file,
        do_lower_case=bool(limits.get("do_lower_case", False)),
        prompts=prompts,
        default_prompt_name=_text(settings.get("default_prompt_name")),
        similarity=stated_similarity(settings.get("similarity_fn_name"), folder / "config_sentence_transformers.json"),
        max_active_dims=_positive(settings.get("max_active_dims")) or _active(code),
        model_type=_text(settings.get("model_type")),
        activation_fn=_text(settings.get("activation_fn")),
        message_format=_message_format(limits.get("modality_config")),
        query_table=query_table,
        truncate_dim=_positive(settings.get("truncate_dim")) if settings.get("model_type") in OF_TEXTS else None,
    )


def _read_modules(folder: Path) -> tuple[Module, ...]:
    path = folder / "modules.json"
    if not path.exists():
        return ()
    lines = read_json(path)
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        message = f"{path} should hold a list of objects with 'idx', 'name', 'path' and 'type'"
        raise CheckpointError(message)
    return tuple(_read_module(folder, line, path) for line in sorted(lines, key=_place))


def _routed(modules: tuple[Module, ...], listed: Path) -> tuple[tuple[Module, ...], Module | None]:
    """The modules that documents go through, and the one that embeds queries without a model, of a Router's folder.

    Args:
        modules: What modules.json names.
        listed: Its path.

    Raises:
        CheckpointError: If the Router does something else.
    """
    kinds = [module.type for module in modules]
    if kinds != [ROUTER] and (ROUTER in kinds or kinds == [QUERY_TABLE]):
        message = (
            f"{listed} names the modules {', '.join(kinds)}: known is a {ROUTER} alone, whose route for queries may "
            f"hold a {QUERY_TABLE} where that for documents holds a model"
        )
        raise CheckpointError(message)
    if kinds != [ROUTER]:
        return modules, None
    path = modules[0].path / "router_config.json"
    said = read_object(path)
    types, structure = said.get("types"), said.get("structure")
    names = structure.get(DOCUMENT) if isinstance(structure, dict) else None
    if not isinstance(types, dict) or not isinstance(structure, dict) or not isinstance(names, list):
        message = f"{path} should hold 'types', and 'structure' with the modules of the route {DOCUMENT!r}"
        raise CheckpointError(message)
    home, queries = modules[0].path, structure.get(QUERY, names)

    def read(name: object) -> Module:
        return _read_module(home, {"path": str(name), "type": types.get(name, "")}, path)

    chain = tuple(map(read, names))
    if queries == names:
        return chain, None
    tables = tuple(map(read, queries)) if isinstance(queries, list) else ()
    if len(tables) != 1 or tables[0].type != QUERY_TABLE or set(structure) - {QUERY, DOCUMENT}:
        message = (
            f"{path} routes queries through {', '.join(table.type for table in tables) or queries}; known is "
            f"{QUERY_TABLE} alone, beside a route for documents. Of routes through models of their own, the "
            "folder of each Transformer loads as a model, with the pooling type of its Pooling module as pooler_config"
        )
        raise CheckpointError(message)
    return chain, tables[0]


def _place(line: Mapping[str, Any]) -> int:
    index = line.get("idx", 0)
    return index if isinstance(index, int) else 0


def _read_module(folder: Path, line: Mapping[str, Any], path: Path) -> Module:
    dotted = str(line.get("type", ""))
    home = inside(folder, line.get("path", ""), written_in=path)
    name = dotted.rpartition(".")[2] if dotted.startswith(FAMILIES) else dotted
    config = read_object(home / "config.json") if name not in TRANSFORMERS else {}
    if name in ("Pooling", "Dense", SPARSE_CODE) and not config:
        message = f"{path} names a {name} module in {home.name!r}, and {home / 'config.json'} is missing or empty"
        raise CheckpointError(message)
    return Module(type=name, path=home, config=config)


def _check_chain(modules: tuple[Module, ...], pooling: int, path: Path) -> None:
    """Refuse a chain that means something else than: pool, apply the Dense modules, normalise; and code, normalise."""
    for place, module in enumerate(modules):
        foreign = "." in module.type and place < pooling  # a transformer of somebody's own
        known = BEFORE_POOLING if place < pooling else AFTER_POOLING
        if place != pooling and module.type not in known and not foreign:
            where = "before" if place < pooling else "after"
            message = (
                f"{path} names a module {module.type} {where} Pooling, which is not known there: without it the "
                f"results would not be those of the model. Known are {', '.join(known)}; take it out of the file to do "
                "without"
            )
            raise CheckpointError(message)
        read = module.config.get("module_input_name", POOLED)
        if place > pooling and read != POOLED:
            message = (
                f"{path} names a {module.type} module that reads {read!r}: after Pooling, only {POOLED!r} is known"
            )
            raise CheckpointError(message)
    types = [module.type for module in modules]
    if "Dense" in types and "Normalize" in types[: len(types) - types[::-1].index("Dense")]:
        message = f"{path} names a Normalize module before a Dense module: only Normalize behind all of them is known"
        raise CheckpointError(message)
    behind = types[types.index(SPARSE_CODE) + 1 :] if SPARSE_CODE in types else []
    if any(name in ("Dense", SPARSE_CODE) for name in behind):
        message = f"{path} names the modules {', '.join(behind)} behind {SPARSE_CODE}: known is Normalize alone"
        raise CheckpointError(message)


def _normalizes(modules: tuple[Module, ...], *, plain: bool) -> bool | None:
    """Whether the last result is normalised; None where nobody says, and it is not ``plain`` vectors."""
    types = [module.type for module in modules]
    last = types[types.index(SPARSE_CODE) :] if SPARSE_CODE in types else types
    return "Normalize" in last if plain else ("SpladePooling" in types and "Normalize" in last) or None


def _active(code: Module | None) -> int | None:
    return None if code is None else _positive(code.config.get("k", ACTIVE))


def code_size(code: Module) -> int:
    """The features of a module that makes vectors sparse."""
    return _positive(code.config.get("hidden_dim", FEATURES)) or FEATURES


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


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
