"""Names what stands in for architectures that have no record of their own: the classes of transformers."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec
from millpond_transformers.published import CLASSIFIERS, MODELS, RETRIEVERS

IMPLEMENTATION = "transformers"
BACKBONES = (
    "*Model",
    "*ForCausalLM",
    "*LMHeadModel",
    "*ForConditionalGeneration",
    "*ForMaskedLM",
    "*ForPreTraining",
    "*WithLMHeadModel",
)


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """One record for backbones, one for classifiers of texts, one for classifiers of tokens, one for ColPali's kind."""
    yield ArchitectureSpec(
        name="TransformersModel",
        target="millpond_transformers.model:TransformersModel",
        summary="run by the class of transformers",
        tasks=("embed", "token_embed"),
        implementation=IMPLEMENTATION,
        stands_in_for=BACKBONES,
        describe="millpond_transformers.describe:backbone",
        published=MODELS,
    )
    yield ArchitectureSpec(
        name="TransformersForSequenceClassification",
        target="millpond_transformers.heads:TransformersForSequenceClassification",
        summary="run by the class of transformers, with its head",
        tasks=("classify", "token_classify"),
        implementation=IMPLEMENTATION,
        stands_in_for=("*ForSequenceClassification",),
        describe="millpond_transformers.describe:classifier",
        published=CLASSIFIERS,
    )
    yield ArchitectureSpec(
        name="TransformersForTokenClassification",
        target="millpond_transformers.heads:TransformersForTokenClassification",
        summary="run by the class of transformers, with its head for each token",
        tasks=("token_classify",),
        implementation=IMPLEMENTATION,
        stands_in_for=("*ForTokenClassification",),
        describe="millpond_transformers.describe:token_classifier",
    )
    yield ArchitectureSpec(
        name="TransformersForRetrieval",
        target="millpond_transformers.retrieval:TransformersForRetrieval",
        summary="run by the class of transformers: a vector for each token of a text, or of an image",
        tasks=("token_embed",),
        size_keys=("embedding_dim",),
        defaults={"embedding_dim": 128},
        late_interaction="millpond_transformers.retrieval_sides:read_sides",
        implementation=IMPLEMENTATION,
        stands_in_for=("*ForRetrieval",),
        describe="millpond_transformers.describe:retrieval",
        published=RETRIEVERS,
    )
