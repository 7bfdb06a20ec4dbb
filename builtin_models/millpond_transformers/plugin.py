"""Names what stands in for architectures that have no record of their own: the classes of transformers."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import ArchitectureSpec, PublishedModel

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
# Examples: whatever else has an architecture that transformers has is served as well.
MODELS = (
    PublishedModel(name="sentence-transformers/gtr-t5-base", named="T5EncoderModel"),
    PublishedModel(name="sentence-transformers/paraphrase-albert-small-v2", named="AlbertModel"),
    PublishedModel(name="dangvantuan/sentence-camembert-base", named="CamembertModel"),
)
CLASSIFIERS = (
    PublishedModel(name="ai21labs/Jamba-tiny-reward-dev", named="JambaForSequenceClassification"),
    PublishedModel(name="cross-encoder/ms-marco-electra-base", named="ElectraForSequenceClassification"),
)


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """One record for backbones, one for classifiers of texts, one for classifiers of tokens."""
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
