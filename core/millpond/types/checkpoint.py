"""CheckpointFacts: what the files beside config.json state of a model, each value with its origin. Without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from millpond.compat.renamed import renamed_attributes, renamed_fields
from millpond.types.config import Choice
from millpond.types.late_interaction import LateInteraction

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModuleFacts:
    """A module that a checkpoint lists beside its model, such as a Dense module after pooling.

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
        listed: All that its files list, those that are the model itself or that pool included.
        before: Those that change the vectors of tokens before they are pooled.
        after: Those after pooling, without a normalisation at the end: that is ``PoolingFacts.normalize``.
    """

    listed: tuple[ModuleFacts, ...] = ()
    before: tuple[ModuleFacts, ...] = ()
    after: tuple[ModuleFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PoolingFacts:
    """How the vectors of tokens become a result.

    Attributes:
        types: The names of pooling types, a tuple; the results of several are joined in this order.
        normalize: True if the result is divided by its length, else False.
        include_prompt: False if the tokens of a prompt are read and not pooled.
    """

    types: Choice | None = None
    normalize: Choice | None = None
    include_prompt: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """How texts are read.

    Attributes:
        max_length: The most tokens of a text; counts more than what config.json and the tokenizer's files state.
        tokenizer_binds: True if what the tokenizer's files state bounds the length whatever the kind of positions.
        lower_case: True if texts are read in lower case.
        special_tokens: False if the tokenizer adds no special tokens.
        message_format: How the chat template gets each text: "flat", "structured" or "auto"; unstated, texts are read
            as they are.
        template_settings: Variables that the chat template is rendered with.
    """

    max_length: Choice | None = None
    tokenizer_binds: Choice | None = None
    lower_case: Choice | None = None
    special_tokens: Choice | None = None
    message_format: Choice | None = None
    template_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PromptFacts:
    """Prompts that are put before texts.

    Attributes:
        named: The prompts by their names.
        default: The name of the one for calls that name none.
    """

    named: Choice | None = None
    default: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddingFacts:
    """What embeddings are.

    Attributes:
        similarity: How two of them are compared: "cosine", "dot", "euclidean", "manhattan"; of vectors of tokens
            "maxsim", "meanmaxsim".
        truncate_dim: The dimensions that are kept where a call does not specify it.
        max_active_dims: The most weights of a sparse vector that are kept.
    """

    similarity: Choice | None = None
    truncate_dim: Choice | None = None
    max_active_dims: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class ClassifierFacts:
    """What classes or scores are.

    Attributes:
        num_labels: How many there are.
        activation: The dotted name of their activation in torch.
    """

    num_labels: Choice | None = None
    activation: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class RouteFacts:
    """Routes of queries and documents through modules of their own.

    Attributes:
        by_input_type: The route of "query", of "document", and of None, which stands for calls that do not specify it;
            empty where all texts take one route.
        main: The route that stands for the model.
        origin: The file that states them.
    """

    by_input_type: Mapping[str | None, str] = field(default_factory=dict)
    main: str = ""
    origin: str = ""


@renamed_fields(query_table="static_query_weights")
@renamed_attributes(reads_sides="late_interaction_value")
@dataclass(frozen=True, kw_only=True)
class RetrievalFacts:
    """The different treatment of queries and documents.

    Attributes:
        late_interaction: The ``LateInteraction`` of a model of ColBERT's kind.
        static_query_weights: The module with one weight per token that embeds queries without the model.
        routes: The routes of queries and documents.
    """

    late_interaction: Choice | None = None
    static_query_weights: ModuleFacts | None = None
    routes: RouteFacts = field(default_factory=RouteFacts)

    @property
    def late_interaction_value(self) -> LateInteraction | None:
        """The value of ``late_interaction``; None if no file states it."""
        value: LateInteraction | None = value_of(self.late_interaction)
        return value


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """An adapter in a folder beside the weights.

    Attributes:
        folder: The folder.
        read: Returns what the adapter changes: by the checkpoint's names of weights, without ``.weight``, the matrices
            ``up`` and ``down``, whose product is added.
    """

    folder: Path
    read: Callable[[], Mapping[str, tuple[Any, Any]]]


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What the files of a checkpoint state beside config.json; all of it may be empty.

    Attributes:
        folder: The folder of config.json and the weights, where it is not the checkpoint's own.
        config: What config.json would contain, where there is none or it does not describe the model.
        known: Keys of config.json that it lacks; ``architectures`` takes the place of what it states.
        task: The task that the checkpoint is for, such as "classify".
        pooling: How the vectors of tokens become a result.
        modules: The modules before and after pooling.
        text: How texts are read.
        prompts: Prompts before texts.
        embedding: What embeddings are.
        classifier: What classes or scores are.
        retrieval: How queries and documents are told apart.
        adapters: Adapters in folders beside the weights.
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
        """The names of pooling types that the files state; empty for none."""
        return tuple(value_of(self.pooling.types, ()))


GROUPS = (
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
    """The value of a choice; the default where nothing is stated."""
    return default if choice is None else choice.value


def stated(value: Any, origin: str) -> Choice | None:
    """A choice of that value; None, which states nothing, if the value is None."""
    return None if value is None else Choice(value=value, origin=origin)


def merge_facts(first: T, second: T) -> T:
    """The facts of two readers: of each value that of the first, or where it states none, of the second.

    Args:
        first: ``CheckpointFacts``, or a part of them.
        second: The same kind of record.
    """
    merged: dict[str, Any] = {}
    for item in fields(first):  # type: ignore[arg-type]  # one of GROUPS
        own, other = getattr(first, item.name), getattr(second, item.name)
        merged[item.name] = merge_facts(own, other) if isinstance(own, GROUPS) else other if _is_empty(own) else own
    return type(first)(**merged)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, tuple | Mapping | str) and not value)


def facts_fault(facts: object, name: str = "") -> str | None:
    """Return what is wrong with the types of facts that a reader returned; None if nothing is.

    Args:
        facts: ``CheckpointFacts``, or a part of them.
        name: The field that the part is of, with a dot; empty for the whole.
    """
    plain = type(facts)()
    for item in fields(facts):  # type: ignore[arg-type]  # one of GROUPS
        value, default, path = getattr(facts, item.name), getattr(plain, item.name), f"{name}{item.name}"
        if isinstance(default, GROUPS):
            expected = type(default)
            fault = facts_fault(value, f"{path}.") if isinstance(value, expected) else _wrong(path, value, expected)
            if fault is not None:
                return fault
        elif item.type == Choice | None and not isinstance(value, Choice | None):
            return f"{path}={value!r:.80}; expected stated(value, origin) or None"
        elif value is not None and path in EXPECTED and not EXPECTED[path][1](value.value):
            return f"{path} stated as {value.value!r:.80} in {value.origin}; expected {EXPECTED[path][0]}"
    return None


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _are_prompts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


EXPECTED: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "pooling.types": ("a tuple of names", _are_names),
    "prompts.named": ("a mapping of names to texts", _are_prompts),
}


def _wrong(path: str, value: object, expected: type) -> str:
    return f"{path}={value!r:.80}; expected {expected.__name__}(...), which is empty by default"
