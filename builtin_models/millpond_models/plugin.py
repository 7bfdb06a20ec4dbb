"""Names the architectures that Millpond comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import ArchitectureSpec
from millpond_models.catalogue import classifiers

EMBEDDING_TASKS = ("embed", "token_embed")
DECODERS = {
    "Llama": ("llama", "Llama (Touvron et al., 2023) and the many decoders of its form"),
    "Mistral": ("mistral", "Mistral (Jiang et al., 2023), with a sliding window"),
    "Qwen2": ("qwen", "Qwen2 and Qwen2.5 (Yang et al., 2024)"),
    "Qwen3": ("qwen", "Qwen3 (Yang et al., 2025), with norms of heads"),
    "Gemma": ("gemma", "Gemma, the first (Gemma Team, 2024)"),
}


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Encoders of BERT's form, alone and with classifiers, and decoders of Llama's."""
    yield from encoders()
    yield from classifiers()
    yield from decoders()


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
        )


def decoders() -> Iterator[ArchitectureSpec]:
    """Decoders, of which many embedding models are made; of one that predicts tokens the head for that is left out."""
    for family, (module, summary) in DECODERS.items():
        for name in (f"{family}Model", f"{family}ForCausalLM"):
            yield ArchitectureSpec(
                name=name,
                target=f"millpond_models.{module}:{family}Model",
                summary=summary,
                tasks=EMBEDDING_TASKS,
                pooling="LAST",
                positions="relative",
            )
