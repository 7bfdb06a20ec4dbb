"""Names the architectures that Millpond comes with."""

from collections.abc import Iterator
from dataclasses import replace

from millpond.hookspecs import hookimpl
from millpond.specs import ArchitectureSpec, ConverterSpec
from millpond_models import catalogue, decoder_catalogue, tower_catalogue
from millpond_models.biased_catalogue import biased
from millpond_models.encoder_catalogue import encoder_families, static_embeddings
from millpond_models.nemotron_catalogue import nemotron_vl
from millpond_models.phi_catalogue import phi_vision
from millpond_models.published import published
from millpond_models.retrieval_catalogue import retrievers
from millpond_models.rotary_catalogue import rotary_encoders

EMBEDDING_TASKS = ("embed", "token_embed")
DECODERS = {
    "Llama": ("llama", "Llama (Touvron et al., 2023) and the many decoders of its form"),
    "Mistral": ("mistral", "Mistral (Jiang et al., 2023), with a sliding window"),
    "Qwen2": ("qwen", "Qwen2 and Qwen2.5 (Yang et al., 2024)"),
    "Qwen3": ("qwen", "Qwen3 (Yang et al., 2025), with norms of heads"),
    "Phi3": ("phi3", "Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al., 2024)"),
    "Gemma": ("gemma", "Gemma, the first (Gemma Team, 2024)"),
}


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Encoders of BERT's form, decoders of Llama's, and those of either with classifiers and rewards of their own."""
    for spec in _architectures():
        yield replace(spec, published=spec.published or published(spec.name))


def _architectures() -> Iterator[ArchitectureSpec]:
    yield from encoders()
    yield from rotary_encoders()
    yield from encoder_families()
    yield from static_embeddings()
    yield from decoders()
    yield from decoder_catalogue.embedding_decoders()
    yield from biased()
    yield from catalogue.classifiers()
    yield from catalogue.rewards()
    yield from catalogue.sparse_encoders()
    yield from catalogue.token_encoders()
    yield from retrievers()
    yield from tower_catalogue.two_towers()
    yield from nemotron_vl()
    yield from phi_vision()


@hookimpl
def register_converters() -> Iterator[ConverterSpec]:
    """To embedding models, to classifiers, to process-reward models, to sparse encoders."""
    yield from catalogue.converters()


def encoders() -> Iterator[ArchitectureSpec]:
    """BERT and its relatives."""
    yield ArchitectureSpec(
        name="BertModel",
        target="millpond_models.bert:BertModel",
        summary="BERT (Devlin et al., 2018) and the many models of its form",
        tasks=EMBEDDING_TASKS,
        pooling="CLS",
        positions="absolute",
    )
    for name in ("RobertaModel", "XLMRobertaModel"):
        yield ArchitectureSpec(
            name=name,
            target="millpond_models.roberta:RobertaModel",
            summary="BERT whose positions start behind the padding id",
            tasks=EMBEDDING_TASKS,
            pooling="CLS",
            positions="absolute_after_pad",
            adapters_key="lora_adaptations",
        )


def decoders() -> Iterator[ArchitectureSpec]:
    """Decoders, of which many embedding models are made, and by converters classifiers."""
    for family, (module, summary) in DECODERS.items():
        yield ArchitectureSpec(
            name=f"{family}Model",
            target=f"millpond_models.{module}:{family}Model",
            summary=summary,
            tasks=EMBEDDING_TASKS,
            pooling="LAST",
            positions="relative",
        )
