"""The record of a model architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from millpond.plugin.specs.base import Spec


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
