"""CheckpointFacts: values from the files of a checkpoint other than config.json, with their origins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from millpond.types.config import Choice
from millpond.types.late_interaction import LateInteraction

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModuleFacts:
    """A module that a checkpoint lists in addition to its model, such as a Dense module after pooling.

    Attributes:
        type: The name of its ``ModuleSpec``, such as ``Dense``.
        path: The folder of its files.
        config: The content of its config file.
    """

    type: str
    path: Path
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModuleChain:
    """The modules of a checkpoint, in order.

    Attributes:
        listed: All modules in the files, including the model itself and pooling.
        before: The modules between the model and pooling.
        after: The modules after pooling, without a final normalization, which is ``PoolingFacts.normalize``.
    """

    listed: tuple[ModuleFacts, ...] = ()
    before: tuple[ModuleFacts, ...] = ()
    after: tuple[ModuleFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PoolingFacts:
    """The pooling of token vectors.

    Attributes:
        types: The names of the pooling types, a tuple. The results of several types are concatenated in this order.
        normalize: True if the result is normalized, else False.
        include_prompt: False if the tokens of a prompt are not pooled.
    """

    types: Choice | None = None
    normalize: Choice | None = None
    include_prompt: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """The preparation of texts.

    Attributes:
        max_length: The maximum number of tokens; takes precedence over config.json and the tokenizer's files.
        tokenizer_limits_length: True if ``model_max_length`` of the tokenizer limits the length for all types of
            positions.
        lower_case: True if texts are converted to lower case.
        special_tokens: False if the tokenizer adds no special tokens.
        message_format: The format in which the chat template receives each text: "flat", "structured" or "auto"; None
            if the chat template is not used for texts.
        template_settings: Variables for the chat template.
    """

    max_length: Choice | None = None
    tokenizer_limits_length: Choice | None = None
    lower_case: Choice | None = None
    special_tokens: Choice | None = None
    message_format: Choice | None = None
    template_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PromptFacts:
    """Prompts that are prepended to texts.

    Attributes:
        named: The prompts by name.
        default: The name of the default prompt.
    """

    named: Choice | None = None
    default: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddingFacts:
    """The properties of embeddings.

    Attributes:
        similarity: The similarity function: "cosine", "dot", "euclidean", "manhattan"; for token vectors "maxsim",
            "meanmaxsim".
        truncate_dim: The default number of dimensions that are kept.
        max_active_dims: The maximum number of non-zero weights of a sparse vector.
    """

    similarity: Choice | None = None
    truncate_dim: Choice | None = None
    max_active_dims: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class ClassifierFacts:
    """The properties of classes or scores.

    Attributes:
        num_labels: The number of classes or scores.
        activation: The dotted name of their activation in torch.
    """

    num_labels: Choice | None = None
    activation: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class RouteFacts:
    """Separate routes of queries and documents through the modules.

    Attributes:
        by_input_type: The routes of "query", "document" and None (no input type); empty if all texts share one route.
        main: The route of the model itself.
        origin: The file that specifies them.
        target: ``"module:function"`` that builds the model of all routes: (``LoadedModel`` of the main route,
            ``RouteBuilder``) -> ``LoadedModel``, both from ``millpond.loading.build``.
    """

    by_input_type: Mapping[str | None, str] = field(default_factory=dict)
    main: str = ""
    origin: str = ""
    target: str = ""

    def __post_init__(self) -> None:
        """Refuse routes that no function combines."""
        if self.by_input_type and not self.target:
            raise ValueError("RouteFacts with by_input_type requires target, the function that combines the routes")


@dataclass(frozen=True, kw_only=True)
class RetrievalFacts:
    """The different treatment of queries and documents.

    Attributes:
        late_interaction: The ``LateInteraction`` of a late-interaction model.
        static_query_weights: The module with one weight per token that embeds queries without the model.
        routes: The routes of queries and documents.
    """

    late_interaction: Choice | None = None
    static_query_weights: ModuleFacts | None = None
    routes: RouteFacts = field(default_factory=RouteFacts)

    @property
    def late_interaction_value(self) -> LateInteraction | None:
        """The value of ``late_interaction``; None if no file specifies it."""
        value: LateInteraction | None = value_of(self.late_interaction)
        return value


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """An adapter in a separate folder of the checkpoint.

    Attributes:
        folder: The folder.
        read: Returns the matrices ``up`` and ``down`` for each weight; their product is added to the weight. The keys
            are the names of the weights in the checkpoint, without ``.weight``.
    """

    folder: Path
    read: Callable[[], Mapping[str, tuple[Any, Any]]]


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """Values from the files of a checkpoint other than config.json; all are optional.

    Attributes:
        folder: The folder of config.json and the weights, if it is not the folder of the checkpoint.
        config: The content for config.json, if the file is missing or does not describe the model.
        known: Values for keys missing from config.json; ``architectures`` replaces the value in the file.
        task: The task of the checkpoint, such as "classify".
        pooling: The pooling of token vectors.
        modules: The modules before and after pooling.
        text: The preparation of texts.
        prompts: Prompts that are prepended to texts.
        embedding: The properties of embeddings.
        classifier: The properties of classes or scores.
        retrieval: The different treatment of queries and documents.
        adapters: Adapters in separate folders.
    """

    folder: Path | None = None
    config: Mapping[str, Any] | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    task: Choice | None = None
    pooling: PoolingFacts = field(default_factory=PoolingFacts)
    modules: ModuleChain = field(default_factory=ModuleChain)
    text: TextFacts = field(default_factory=TextFacts)
    prompts: PromptFacts = field(default_factory=PromptFacts)
    embedding: EmbeddingFacts = field(default_factory=EmbeddingFacts)
    classifier: ClassifierFacts = field(default_factory=ClassifierFacts)
    retrieval: RetrievalFacts = field(default_factory=RetrievalFacts)
    adapters: tuple[AdapterFacts, ...] = ()

    @property
    def pooling_types(self) -> tuple[str, ...]:
        """The names of the pooling types in the files; empty for none."""
        return tuple(value_of(self.pooling.types, ()))


FACT_TYPES = (
    PoolingFacts,
    ModuleChain,
    TextFacts,
    PromptFacts,
    EmbeddingFacts,
    ClassifierFacts,
    RouteFacts,
    RetrievalFacts,
    CheckpointFacts,
)


def value_of(choice: Choice | None, default: Any = None) -> Any:
    """Return the value of a choice, or the default if the choice is None."""
    return default if choice is None else choice.value


def stated(value: Any, origin: str) -> Choice | None:
    """Return a value with its origin; None if the value is None."""
    return None if value is None else Choice(value=value, origin=origin)


def merge_facts(first: T, second: T) -> T:
    """Merge the facts from two checkpoint formats; values of the first take precedence.

    Args:
        first: ``CheckpointFacts``, or one of its parts.
        second: A record of the same type.
    """
    merged: dict[str, Any] = {}
    for item in fields(first):  # type: ignore[arg-type]  # one of FACT_TYPES
        value, other = getattr(first, item.name), getattr(second, item.name)
        if isinstance(value, FACT_TYPES):
            merged[item.name] = merge_facts(value, other)
        else:
            merged[item.name] = other if _is_empty(value) else value
    return type(first)(**merged)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, tuple | Mapping | str) and not value)


def find_type_error(facts: object, prefix: str = "") -> str | None:
    """Return a description of the first value of the wrong type; None if all types are valid.

    Args:
        facts: ``CheckpointFacts``, or one of its parts.
        prefix: The name of the part with a dot; empty for ``CheckpointFacts``.
    """
    defaults = type(facts)()
    for item in fields(facts):  # type: ignore[arg-type]  # one of FACT_TYPES
        value, default, path = getattr(facts, item.name), getattr(defaults, item.name), f"{prefix}{item.name}"
        if isinstance(default, FACT_TYPES):
            if not isinstance(value, type(default)):
                return f"{path}={value!r:.80}; expected {type(default).__name__}(...), which is empty by default"
            error = find_type_error(value, f"{path}.")
            if error is not None:
                return error
        elif item.type == Choice | None and not isinstance(value, Choice | None):
            return f"{path}={value!r:.80}; expected stated(value, origin) or None"
        elif value is not None and path in VALUE_CHECKS:
            expected, is_valid = VALUE_CHECKS[path]
            if not is_valid(value.value):
                return f"{path} stated as {value.value!r:.80} in {value.origin}; expected {expected}"
    return None


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _are_prompts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


# Field -> the expected value in words, and a check
VALUE_CHECKS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "pooling.types": ("a tuple of names", _are_names),
    "prompts.named": ("a mapping of names to texts", _are_prompts),
}
