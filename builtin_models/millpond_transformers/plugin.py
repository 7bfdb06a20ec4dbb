"""Registers model classes of transformers as fallbacks for architectures without a native implementation."""

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
    """Yield the fallbacks for backbones, text classifiers, token classifiers and models like ColPali."""
    yield FallbackSpec(
        name="TransformersModel",
        target="millpond_transformers.resolve:backbone",
        summary="run by the model class of transformers",
        patterns=BACKBONES,
        implementation=IMPLEMENTATION,
        tasks=("embed", "token_embed"),
    )
    yield FallbackSpec(
        name="TransformersForSequenceClassification",
        target="millpond_transformers.resolve:classifier",
        summary="run by the model class of transformers, with its classification head",
        patterns=("*ForSequenceClassification",),
        implementation=IMPLEMENTATION,
        tasks=("classify", "token_classify"),
    )
    yield FallbackSpec(
        name="TransformersForTokenClassification",
        target="millpond_transformers.resolve:token_classifier",
        summary="run by the model class of transformers, with its token classification head",
        patterns=("*ForTokenClassification",),
        implementation=IMPLEMENTATION,
        tasks=("token_classify",),
    )
    yield FallbackSpec(
        name="TransformersForRetrieval",
        target="millpond_transformers.resolve:retrieval",
        summary="run by the model class of transformers: a vector for each token of a text or an image",
        patterns=("*ForRetrieval",),
        implementation=IMPLEMENTATION,
        tasks=("token_embed",),
    )


@hookimpl
def register_published_models() -> Iterator[PublishedModelSpec]:
    """Yield examples of published models; others of the same architectures work too."""
    yield from PUBLISHED
