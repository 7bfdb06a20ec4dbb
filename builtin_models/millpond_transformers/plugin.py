"""Names the fallbacks for architectures that have no record of their own: the classes of transformers."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import FallbackSpec, PublishedModelSpec
from millpond_transformers.published import PUBLISHED

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
def register_fallbacks() -> Iterator[FallbackSpec]:
    """One fallback for backbones, for classifiers of texts, for classifiers of tokens, and for ColPali's kind."""
    yield FallbackSpec(
        name="TransformersModel",
        target="millpond_transformers.resolve:backbone",
        summary="run by the class of transformers",
        patterns=BACKBONES,
        implementation=IMPLEMENTATION,
        tasks=("embed", "token_embed"),
    )
    yield FallbackSpec(
        name="TransformersForSequenceClassification",
        target="millpond_transformers.resolve:classifier",
        summary="run by the class of transformers, with its head",
        patterns=("*ForSequenceClassification",),
        implementation=IMPLEMENTATION,
        tasks=("classify", "token_classify"),
    )
    yield FallbackSpec(
        name="TransformersForTokenClassification",
        target="millpond_transformers.resolve:token_classifier",
        summary="run by the class of transformers, with its head for each token",
        patterns=("*ForTokenClassification",),
        implementation=IMPLEMENTATION,
        tasks=("token_classify",),
    )
    yield FallbackSpec(
        name="TransformersForRetrieval",
        target="millpond_transformers.resolve:retrieval",
        summary="run by the class of transformers: a vector for each token of a text, or of an image",
        patterns=("*ForRetrieval",),
        implementation=IMPLEMENTATION,
        tasks=("token_embed",),
    )


@hookimpl
def register_published_models() -> Iterator[PublishedModelSpec]:
    """Examples: other models of the architectures in transformers run as well."""
    yield from PUBLISHED
