"""The records that plugins yield: a name, and where the thing named is found. Knows nothing of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A name, and where the thing named is found.

    Attributes:
        name: What users ask for.
        target: ``"package.module:attribute"``, imported at first use; or the object itself.
        summary: One line for listings and ``--help``.
    """

    kind: ClassVar[str]
    name: str
    target: str | object
    summary: str = ""

    def __post_init__(self) -> None:
        """Refuse a text where a tuple of texts belongs: it would match by its letters."""
        for item in fields(self):
            if item.type == tuple[str, ...] and isinstance(getattr(self, item.name), str):
                value = getattr(self, item.name)
                message = f"{type(self).__name__}({self.name!r}): {item.name}={value!r} must be a tuple: ({value!r},)"
                raise TypeError(message)


@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """A pooling task; its target is the type of output, such as ``millpond.types.outputs:EmbeddingOutput``.

    Attributes:
        io_processor: The name of the IO processor that serves it.
        default_pooling: The pooling type of a model for which nothing else decides.
        default_activation: The activation applied to the pooled tensor, or None.
        per_token: Whether its result is one row a token, instead of one a prompt.
        made_of: The tasks whose results it is computed from; a model that serves one of them serves it, and needs no
            pooler for it. Empty for a task that models serve themselves.
    """

    kind: ClassVar[str] = "task"
    io_processor: str
    default_pooling: str = "LAST"
    default_activation: str | None = None
    per_token: bool = False
    made_of: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A published model, or several of one kind, and what is known of them that their files do not say.

    Attributes:
        name: As its authors publish it, ``organisation/model``; a shell pattern for several. A model is known by what
            follows the organisation, whatever the case.
        config: Keys of config.json that theirs lacks. What config.json or a caller says counts more; ``architectures``
            takes the place of the published one.
        named: What their config.json names, where ``config`` is for that architecture alone; None for any.
        chat_template: How its messages are written, in Jinja, whatever its files say; None for what they say.
        marks: Sentences of its own chat template, by which a reranker is known in a folder of any name.
    """

    name: str
    config: Mapping[str, object] = field(default_factory=dict, hash=False)
    named: str | None = None
    chat_template: str | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ArchitectureSpec(Spec):
    """A model architecture, named as in ``architectures`` of config.json; its target is a ``PoolingModel``.

    Attributes:
        tasks: The tasks it serves without conversion.
        modalities: What it reads: ``text``, ``image``; ``features`` where its IO processor makes all that it reads.
        pooling: The pooling type of its sequence tasks when neither user nor checkpoint says.
        pooler_config: Other fields of ``PoolerConfig`` for when neither user nor checkpoint says, such as
            ``{"tok_pooling_type": "STEP"}``.
        pooling_key: The key of config.json that names its pooling type (``avg``, ``cls``, ``last``), of converted
            models too; None for none.
        adapters_key: The key of config.json that lists the names of the adapters of which each request may choose one;
            None for none.
        adapter_folders: Where folders beside the weights hold adapters as PEFT writes them, of which each request may
            choose one: the names of those that are not called as their folders are; None where none are read. The model
            takes them by ``load_adapters``.
        sized_by_labels: Whether its embeddings have as many dimensions as config.json has labels.
        num_labels: How many classes or scores it gives, whatever config.json says; None where that decides.
        classifier_activation: The activation of its classes or scores, such as ``sigmoid`` or ``identity``, whatever
            the checkpoint's files say; None where they decide. The caller's ``hf_overrides`` count more.
        token_weights: Whether what ``token_classify`` gives is the weight of each token in a sparse vector, without the
            tokens that begin and end a text, [num_tokens].
        extra_weights: Files beside the model's that it reads weights from too, without their suffix, such as
            ``("sparse_linear",)``; that name and a dot go before those of their tensors.
        instead_of: The architectures in config.json in whose place it is taken where all of these files are there.
        positions: ``absolute`` if it has a table of position embeddings, which bounds the length of a text;
            ``absolute_after_pad`` if the table starts behind the padding id, as RoBERTa's; else ``relative``.
        defaults: What config.json means where it does not say, such as ``{"text_config": {"hidden_size": 512}}``; what
            it says, and what the caller says, counts more.
        size_keys: The keys of config.json of which the first that holds a number says how many dimensions embeddings
            have, such as ``("projection_dim",)``; ``text_config.hidden_size`` stands in a part of it.
        fills_length: Whether texts are filled up with padding, which is read like tokens, to the longest that the model
            reads, as it was trained.
        lower_case: Whether texts are read in lower case, as it was trained, though tokenizer.json does not say so.
        image_reader: ``"module:attribute"`` of the ``ImageReader`` of a model that reads texts with images in them;
            None for one that reads texts alone, or texts and images each for themselves.
        late_interaction: ``"module:function"`` that reads how it takes queries and documents: (Repository, config) ->
            ``LateInteraction``; None for what files of PyLate and of sentence-transformers say, where they do.
        published: Models of this architecture that people use.
        implementation: Whose code computes it, as ``model_impl`` names it.
        stands_in_for: Shell patterns of other names in config.json that it serves where no record of their own does, or
            where ``model_impl`` asks for its implementation.
        describe: ``"module:function"``, asked before it stands in: (name in config.json, config) -> the fields of this
            record that are others for that name, such as ``{"pooling": "CLS"}``, or a text that says why it cannot.
    """

    kind: ClassVar[str] = "architecture"
    tasks: tuple[str, ...]
    modalities: tuple[str, ...] = ("text",)
    pooling: str | None = None
    pooler_config: Mapping[str, object] = field(default_factory=dict, hash=False)
    pooling_key: str | None = None
    adapters_key: str | None = None
    adapter_folders: Mapping[str, str] | None = field(default=None, hash=False)
    sized_by_labels: bool = False
    num_labels: int | None = None
    classifier_activation: str | None = None
    token_weights: bool = False
    extra_weights: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()
    positions: str = "relative"
    defaults: Mapping[str, object] = field(default_factory=dict, hash=False)
    size_keys: tuple[str, ...] = ()
    fills_length: bool = False
    lower_case: bool = False
    image_reader: str | None = None
    late_interaction: str | None = None
    published: tuple[PublishedModel, ...] = ()
    implementation: str = "native"
    stands_in_for: tuple[str, ...] = ()
    describe: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConverterSpec(Spec):
    """A way to make a pooling model of an architecture that is none; target: (model class, Context) -> model class.

    Attributes:
        architectures: Shell patterns of architecture names; of those that match, the longest wins.
        tasks: The tasks of the converted model.
        pooling: The pooling types that it is for: it is taken where the user names one of them, and before others; ""
            is where neither the user nor the model's files name one. Empty for any.
    """

    kind: ClassVar[str] = "converter"
    architectures: tuple[str, ...]
    tasks: tuple[str, ...]
    pooling: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PoolerSpec(Spec):
    """A pooler, named by its pooling type (``MEAN``); its target is a ``Pooler`` class.

    Attributes:
        tasks: The tasks for which it can be asked.
        size_key: The key of config.json that says how many values it gives, such as ``vocab_size``; None for as many
            as a hidden state has.
        activation: The activation of its results in place of that of the task, such as ``identity``.
    """

    kind: ClassVar[str] = "pooler"
    tasks: tuple[str, ...]
    size_key: str | None = None
    activation: str | None = None


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(Spec):
    """An activation of pooled tensors; its target takes and returns a tensor of shape [..., dim].

    Attributes:
        op: The op whose implementation computes it for models; the target serves where there is none.
    """

    kind: ClassVar[str] = "activation"
    op: str | None = None


@dataclass(frozen=True, kw_only=True)
class IOProcessorSpec(Spec):
    """An IO processor; its target is an ``IOProcessor`` class.

    Attributes:
        tasks: The tasks it serves; ``("plugin",)`` for a third party's own input and output.
    """

    kind: ClassVar[str] = "io_processor"
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KernelSpec(Spec):
    """One implementation of an op, named ``<op>.<variant>``; its target is a function.

    Attributes:
        devices: Device types it runs on, such as ``("cpu", "cuda")``; empty for any.
        dtypes: Names of the dtypes it computes in, such as ``("float32",)``; empty for any.
        priority: Of the variants that fit, the highest is taken.
        available: ``"module:function"``, asked before it is chosen: True if it can run here, else False, or a text
            that says why not.
        quantization: The scheme it computes in, such as ``"int8"``; it serves where that is asked for, and goes
            before those of none.
        batch_invariant: Whether each sequence's result is the same to the bit whatever shares its batch; the others
            do not serve ``deterministic=True``.
        serves: What it does of that which an op need not do everywhere, such as ``("softcap",)``; models that need what
            is not named here are served by others.
    """

    kind: ClassVar[str] = "kernel"
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    priority: int = 0
    available: str | None = None
    quantization: str | None = None
    batch_invariant: bool = False
    serves: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        """The op that is implemented: what stands before the first dot of the name."""
        return self.name.partition(".")[0]

    @property
    def variant(self) -> str:
        """The variant: what stands behind the first dot of the name."""
        return self.name.partition(".")[2]


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Spec):
    """A place models come from, named by its scheme; target: ``(name, SourceOptions) -> Path | None``.

    Attributes:
        priority: A name without a scheme is asked of the sources in descending order.
    """

    kind: ClassVar[str] = "source"
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command under ``millpond``; its target is a ``typer.Typer``."""

    kind: ClassVar[str] = "command"


@dataclass(frozen=True, kw_only=True)
class RouteSpec(Spec):
    """An HTTP route, named by method and path (``POST /v1/embeddings``); target: async (request, llm) -> response.

    Attributes:
        tasks: Mounted if the model serves one of these; empty for always.
        always: Mounted whatever the model serves: the route itself answers for models that serve none of its tasks.
        request: ``"module:Model"`` of the pydantic model that validates the body.
        response: ``"module:Model"`` of the pydantic model that describes the answer.
        body: What the handler gets: ``json`` for the validated body, ``bytes`` for the body as it is, of any content
            type, ``request`` for Starlette's ``Request``, whose body the handler reads by itself.
        model_field: The field of a JSON body that names the model; None where the handler names it, by
            ``call.use_model(name)``.
        key_headers: Headers that may hold the API key, beside ``Authorization: Bearer``, ``api-key`` and ``x-api-key``.
        key_query: Fields of the query that may hold it.
        public: True if it needs no API key.
    """

    kind: ClassVar[str] = "route"
    tasks: tuple[str, ...] = ()
    always: bool = False
    request: str | None = None
    response: str | None = None
    body: str = "json"
    model_field: str | None = "model"
    key_headers: tuple[str, ...] = ()
    key_query: tuple[str, ...] = ()
    public: bool = False


KINDS: Mapping[str, type[Spec]] = MappingProxyType(
    {
        spec.kind: spec
        for spec in (
            TaskSpec,
            ArchitectureSpec,
            ConverterSpec,
            PoolerSpec,
            ActivationSpec,
            IOProcessorSpec,
            KernelSpec,
            SourceSpec,
            CommandSpec,
            RouteSpec,
        )
    }
)
