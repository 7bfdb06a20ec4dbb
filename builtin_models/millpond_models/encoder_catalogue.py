"""The records of encoders that came after BERT, each with its classifiers. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator
from dataclasses import dataclass

from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")
TOKEN_TASKS = ("token_classify",)


@dataclass(frozen=True, kw_only=True)
class Family:
    """An encoder that comes alone, with a classifier of texts, and with one of tokens.

    Attributes:
        name: What the names of its architectures begin with.
        module: The module of ``millpond_models`` that has a class of each name.
        heads: That of the classifiers, where it is another.
        summary: What it is.
        positions: How positions are counted.
        pooling: The pooling type of texts where no file says.
        classifying: The same before the classifier of texts.
    """

    name: str
    module: str
    summary: str
    positions: str
    heads: str | None = None
    pooling: str = "CLS"
    classifying: str = "CLS"


FAMILIES = (
    Family(
        name="DistilBert",
        module="distilbert",
        summary="DistilBERT (Sanh et al., 2019), BERT of half the layers",
        positions="absolute",
    ),
    Family(
        name="EuroBert",
        module="eurobert",
        summary="EuroBERT (Boizard et al., 2025), Llama's layers in both directions",
        positions="relative",
        pooling="MEAN",
        classifying="MEAN",
    ),
    Family(
        name="DebertaV2",
        module="deberta",
        heads="deberta_heads",
        summary="DeBERTa, second and third version (He et al., 2021), whose attention knows distances",
        positions="absolute",
    ),
)


def static_embeddings() -> Iterator[ArchitectureSpec]:
    """Tables of tokens, without a model behind them."""
    yield ArchitectureSpec(
        name="StaticEmbedding",
        target="millpond_models.static:StaticEmbedding",
        summary="a row a token: StaticEmbedding of sentence-transformers, and model2vec",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
    )


def encoder_families() -> Iterator[ArchitectureSpec]:
    """Each family alone and with its classifiers."""
    for family in FAMILIES:
        target = f"millpond_models.{family.module}:{family.name}"
        heads = f"millpond_models.{family.heads or family.module}:{family.name}"
        yield ArchitectureSpec(
            name=f"{family.name}Model",
            target=f"{target}Model",
            summary=family.summary,
            tasks=EMBEDDING_TASKS,
            pooling=family.pooling,
            positions=family.positions,
        )
        yield ArchitectureSpec(
            name=f"{family.name}ForSequenceClassification",
            target=f"{heads}ForSequenceClassification",
            summary="classes or a score of a text, or of a pair of texts",
            tasks=CLASSIFYING_TASKS,
            pooling=family.classifying,
            positions=family.positions,
        )
        yield ArchitectureSpec(
            name=f"{family.name}ForTokenClassification",
            target=f"{heads}ForTokenClassification",
            summary="classes of each token",
            tasks=TOKEN_TASKS,
            positions=family.positions,
        )
