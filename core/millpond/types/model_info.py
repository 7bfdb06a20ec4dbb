"""The parts of ModelConfig: the facts about a model, grouped by the tasks and inputs that need them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond.types.late_interaction import LateInteraction
from millpond.types.rerank_template import RerankTemplate

if TYPE_CHECKING:
    from millpond.types.checkpoint import ModuleFacts


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """The origin of a model and of its implementation.

    Attributes:
        model: The name that the caller used.
        path: The local folder of its files.
        source: The source that found the folder.
        architecture: The name of the architecture that serves it.
        implementation: "native", or the library of the implementation, such as "transformers".
    """

    model: str
    path: str
    source: str
    architecture: str
    implementation: str = "native"


@dataclass(frozen=True, kw_only=True)
class EmbeddingInfo:
    """The embeddings of a model.

    Attributes:
        size: The default number of dimensions; None if config.json does not state it.
        full_size: The number of dimensions before any are cut off by default.
        truncate_dim: The number of dimensions that are kept by default; None for all.
        normalizes: True if the checkpoint states that embeddings are divided by their length.
        similarity: The comparison of two embeddings: "cosine", "dot", or the negated distance "euclidean" or
            "manhattan".
        sparse: The meaning of the dimensions of sparse embeddings: "tokens" of the vocabulary, or "features", which
            have numbers and no names; None for dense embeddings.
        max_active_dims: The default maximum number of weights of a sparse embedding; None for no maximum.
    """

    size: int | None = None
    full_size: int | None = None
    truncate_dim: int | None = None
    normalizes: bool = False
    similarity: str = "cosine"
    sparse: str | None = None
    max_active_dims: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClassificationInfo:
    """The classes or scores of a model.

    Attributes:
        num_labels: The number of classes or scores.
        activation: The name of their activation.
    """

    num_labels: int = 0
    activation: str = "softmax"


@dataclass(frozen=True, kw_only=True)
class RetrievalInfo:
    """The differences between queries and documents.

    Attributes:
        late_interaction: The encoding of queries and documents of a late-interaction model; None for others.
        late_similarity: The comparison of their vectors: "maxsim", or "meanmaxsim" for MaxSim divided by the number of
            the query's vectors.
        static_query_weights: The module with one weight per token that embeds queries without the model; None for none.
        routes: The input types, "query" or "document", with a separate route; empty if all texts take the same route.
    """

    late_interaction: LateInteraction | None = None
    late_similarity: str = "maxsim"
    static_query_weights: "ModuleFacts | None" = None
    routes: tuple[str, ...] = ()

    @property
    def has_input_types(self) -> bool:
        """True if the model reads queries and documents in different ways."""
        return self.late_interaction is not None or self.static_query_weights is not None or bool(self.routes)


@dataclass(frozen=True, kw_only=True)
class MultimodalInfo:
    """The inputs of a model in addition to text.

    Attributes:
        modalities: The kinds of inputs, such as ``("text", "image")``.
        image_reader: The import string of the ``ImageReader`` of a model that reads texts with images in them; None for
            others.
    """

    modalities: tuple[str, ...] = ("text",)
    image_reader: str | None = None


@dataclass(frozen=True, kw_only=True)
class PromptInfo:
    """The texts around the text of a prompt.

    Attributes:
        prompts: The named prompts of the checkpoint.
        default_name: The name of its default prompt.
        include_prompt: True if the tokens of a prompt are pooled with those of the text.
        adapters: The names of the adapters of which each request may choose one.
        chat_template: The Jinja template of messages, if a plugin knows it better than the files; else None.
        rerank_template: The text for a query and a document, if a plugin knows it; else None.
        io_processor_plugin: The name of the IO processor of the task "plugin"; None for none.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    default_name: str | None = None
    include_prompt: bool = True
    adapters: tuple[str, ...] = ()
    chat_template: str | None = None
    rerank_template: RerankTemplate | None = None
    io_processor_plugin: str | None = None
