"""The records of encoders, most of which come with classifiers. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from millpond.plugin.specs import ArchitectureSpec
from millpond_models.records import embedder, text_classifier, token_classifier

JINA_V3: Mapping[str, object] = {
    "position_embedding_type": "rotary",
    "rotary_emb_base": 20_000.0,
    "layer_norm_eps": 1e-5,
    "type_vocab_size": 1,
}
"""What config.json of transformers' JinaEmbeddingsV3 means, in the words of the published one."""

JINA_V3_FOLDERS: Mapping[str, str] = {
    "retrieval_query": "retrieval.query",
    "retrieval_passage": "retrieval.passage",
    "text_matching": "text-matching",
}
"""The names that the published files have for adapters whose folders are called otherwise."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """An encoder that comes alone, with a classifier of texts, and with one of tokens.

    Attributes:
        names: What the names of its architectures begin with.
        model: The class of the encoder alone.
        heads: What the names of the classes with classifiers begin with.
        summary: What it is.
        positions: How positions are counted.
        pooling: The pooling type of texts where no file says.
        classifying: The same before the classifier of texts.
        alone: Further fields of the encoder's own record.
        always: Further fields of all three.
    """

    names: tuple[str, ...]
    model: str
    heads: str
    summary: str
    positions: str = "relative"
    pooling: str = "CLS"
    classifying: str = "CLS"
    alone: Mapping[str, object] = field(default_factory=dict)
    always: Mapping[str, object] = field(default_factory=dict)


FAMILIES = (
    Family(
        names=("Bert",),
        model="encoders.bert.model:BertModel",
        heads="encoders.bert.heads:Bert",
        summary="BERT (Devlin et al., 2018) and the many models of its form",
        positions="absolute",
    ),
    Family(
        names=("Roberta", "XLMRoberta", "Camembert"),
        model="encoders.roberta.model:RobertaModel",
        heads="encoders.bert.heads:Roberta",
        summary="BERT whose positions start behind the padding id",
        positions="absolute_after_pad",
        alone={"adapters_key": "lora_adaptations"},
    ),
    Family(
        names=("JinaEmbeddingsV3",),  # by the name of transformers; as published it is an XLMRobertaModel
        model="encoders.roberta.model:RobertaModel",
        heads="encoders.bert.heads:Roberta",
        summary="jina-embeddings-v3 (Sturua et al., 2024): XLM-RoBERTa with rotary positions",
        pooling="MEAN",
        alone={"adapters_key": "lora_adaptations", "adapter_folders": JINA_V3_FOLDERS},
        always={"defaults": JINA_V3},
    ),
    Family(
        names=("Ernie",),
        model="encoders.ernie.model:ErnieModel",
        heads="encoders.ernie.model:Ernie",
        summary="BERT with a vector of its task (Sun et al., 2020)",
        positions="absolute",
    ),
    Family(
        names=("DistilBert",),
        model="encoders.distilbert.model:DistilBertModel",
        heads="encoders.distilbert.model:DistilBert",
        summary="DistilBERT (Sanh et al., 2019), BERT of half the layers",
        positions="absolute",
    ),
    Family(
        names=("MPNet",),
        model="encoders.mpnet.model:MPNetModel",
        heads="encoders.mpnet.model:MPNet",
        summary="MPNet (Song et al., 2020), BERT with learnt biases for distances",
        positions="absolute_after_pad",
    ),
    Family(
        names=("DebertaV2",),
        model="encoders.deberta.model:DebertaV2Model",
        heads="encoders.deberta.heads:DebertaV2",
        summary="DeBERTa, second and third version (He et al., 2021), whose attention knows distances",
        positions="absolute",
    ),
    Family(
        names=("NomicBert",),
        model="encoders.nomic.model:NomicBertModel",
        heads="encoders.nomic.model:NomicBert",
        summary="Nomic's BERT (Nussbaum et al., 2024), with rotary positions, gates and experts",
        pooling="MEAN",
    ),
    Family(
        names=("Gte", "GteNew", "New"),
        model="encoders.gte.model:GteModel",
        heads="encoders.gte.model:Gte",
        summary="GTE (Zhang et al., 2024): BERT with rotary positions and gates",
    ),
    Family(
        names=("EuroBert",),
        model="encoders.eurobert.model:EuroBertModel",
        heads="encoders.eurobert.model:EuroBert",
        summary="EuroBERT (Boizard et al., 2025), Llama's layers in both directions",
        pooling="MEAN",
        classifying="MEAN",
    ),
)


def encoders() -> Iterator[ArchitectureSpec]:
    """Each family alone and with its classifiers; and those that come in other forms."""
    for family in FAMILIES:
        for name in family.names:
            yield from _members(family, name)
    yield embedder(
        "ModernBertModel",
        "encoders.modernbert.model:ModernBertModel",
        "ModernBERT (Warner et al., 2024), of which most layers attend to a window",
        pooling="CLS",
    )
    yield text_classifier("ModernBertForSequenceClassification", "encoders.modernbert.heads:ModernBertClassifier")
    yield token_classifier("ModernBertForTokenClassification", "encoders.modernbert.heads:ModernBertClassifier")
    yield embedder(
        "JinaBertModel",
        "encoders.jina_bert.model:JinaBertModel",
        "Jina's BERT (Günther et al., 2023), with linear biases for distances and gates",
        pooling="MEAN",
    )
    yield text_classifier(
        "JinaBertForSequenceClassification", "encoders.jina_bert.model:JinaBertForSequenceClassification"
    )
    yield embedder(
        "StaticEmbedding",
        "retrieval.static:StaticEmbedding",
        "a row a token: StaticEmbedding of sentence-transformers, and model2vec",
        pooling="MEAN",
    )


def _members(family: Family, name: str) -> Iterator[ArchitectureSpec]:
    shared = {"positions": family.positions, **family.always}
    yield embedder(f"{name}Model", family.model, family.summary, pooling=family.pooling, **{**shared, **family.alone})
    texts, tokens = "ForSequenceClassification", "ForTokenClassification"
    yield text_classifier(f"{name}{texts}", f"{family.heads}{texts}", pooling=family.classifying, **shared)
    yield token_classifier(f"{name}{tokens}", f"{family.heads}{tokens}", **shared)
