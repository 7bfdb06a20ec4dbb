"""Published checkpoints of BERT, ERNIE, MPNet, DistilBERT, ColBERT and Jina's BERT."""

import pytest

from millpond_models.testing.biased import JINA_BERT, JINA_BERT_WITH_NORMS, biased_shapes, jina_bert_shapes
from millpond_models.testing.published import Published, written_by

BERT = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2}
MINI = {**BERT, "vocab_size": 30522, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
BASE = {**MINI, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
ONE_LABEL = {"num_labels": 1}


def colbert_shapes(config):
    """Return Stanford's names: BERT's with a prefix, and the projection."""
    shapes = {f"bert.{name}": shape for name, shape in written_by("BertModel", config).items()}
    return {**shapes, "linear.weight": (config["dim"], config["hidden_size"])}


def jina_reranker_shapes(config):
    """Return the names of Jina's BERT with a prefix, its pooler and a classifier of one class."""
    return biased_shapes("JinaBertForSequenceClassification", {**config, "id2label": {"0": "LABEL_0"}})


POSITIONS = {"embeddings.position_ids": (1, 512)}
SPLADE = {
    "cls.predictions.bias": (30522,),
    "cls.predictions.transform.dense.weight": ("size", "size"),
    "cls.predictions.transform.dense.bias": ("size",),
    "cls.predictions.transform.LayerNorm.weight": ("size",),
    "cls.predictions.transform.LayerNorm.bias": ("size",),
    "cls.predictions.decoder.weight": (30522, "size"),
    "cls.predictions.decoder.bias": (30522,),
}
PUBLISHED = {
    "sentence-transformers/all-MiniLM-L6-v2": Published(
        "BertModel", {**MINI, "num_hidden_layers": 6}, "BertModel", besides=POSITIONS
    ),
    "BAAI/bge-base-en-v1.5": Published("BertModel", BASE, "BertModel", besides=POSITIONS),
    "intfloat/e5-small": Published("BertModel", {**MINI, "num_hidden_layers": 12}, "BertModel", besides=POSITIONS),
    "google-bert/bert-base-uncased": Published(
        "BertForMaskedLM",
        BASE,
        "BertModel",
        prefix="bert.",
        renamed=((r"LayerNorm\.weight", "LayerNorm.gamma"), (r"LayerNorm\.bias", "LayerNorm.beta")),
        besides={
            "cls.predictions.bias": (30522,),
            "cls.predictions.transform.dense.weight": ("size", "size"),
            "cls.predictions.transform.dense.bias": ("size",),
            "cls.predictions.transform.LayerNorm.gamma": ("size",),
            "cls.predictions.transform.LayerNorm.beta": ("size",),
            "cls.seq_relationship.weight": (2, "size"),
            "cls.seq_relationship.bias": (2,),
        },
    ),
    "naver/splade-v3": Published(
        "BertForMaskedLM",
        BASE,
        "BertModel",
        prefix="bert.",
        besides=SPLADE,
        without=r".*pooler\..*",
        options={"hf_overrides": {"architectures": ["BertSpladeSparseEmbeddingModel"]}},
    ),
    "colbert-ir/colbertv2.0": Published("HF_ColBERT", {**BASE, "dim": 128}, colbert_shapes),
    "answerdotai/answerai-colbert-small-v1": Published(
        "HF_ColBERT", {**MINI, "num_hidden_layers": 12, "dim": 96}, colbert_shapes
    ),
    "cross-encoder/ms-marco-MiniLM-L-6-v2": Published(
        "BertForSequenceClassification",
        {**MINI, **ONE_LABEL, "num_hidden_layers": 6},
        "BertForSequenceClassification",
        besides={"bert.embeddings.position_ids": (1, 512)},
    ),
    "boltuix/NeuroBERT-NER": Published(
        "BertForTokenClassification", {**BASE, "num_labels": 37}, "BertForTokenClassification"
    ),
    "mixedbread-ai/mxbai-embed-large-v1": Published(
        "BertModel",
        {**BASE, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24},
        "BertModel",
    ),
    "shibing624/text2vec-base-chinese-sentence": Published(
        "ErnieModel",
        {
            **BASE,
            "vocab_size": 40000,
            "max_position_embeddings": 2048,
            "type_vocab_size": 4,
            "task_type_vocab_size": 3,
            "use_task_id": True,
        },
        "ErnieModel",
    ),
    "Forrest20231206/ernie-3.0-base-zh-cls": Published(
        "ErnieForSequenceClassification",
        {**BASE, "vocab_size": 40000, "type_vocab_size": 4, "task_type_vocab_size": 3, "use_task_id": True},
        "ErnieForSequenceClassification",
    ),
    "gyr66/Ernie-3.0-base-chinese-finetuned-ner": Published(
        "ErnieForTokenClassification",
        {
            **BASE,
            "vocab_size": 40000,
            "type_vocab_size": 4,
            "task_type_vocab_size": 3,
            "use_task_id": True,
            "num_labels": 31,
        },
        "ErnieForTokenClassification",
    ),
    "sentence-transformers/all-mpnet-base-v2": Published(
        "MPNetForMaskedLM",
        {**BASE, "vocab_size": 30527, "max_position_embeddings": 514, "relative_attention_num_buckets": 32},
        "MPNetModel",
        besides={"embeddings.position_ids": (1, 514)},
    ),
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": Published(
        "DistilBertForSequenceClassification",
        {
            "vocab_size": 30522,
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "num_labels": 2,
            "max_position_embeddings": 512,
            "activation": "gelu",
        },
        "DistilBertForSequenceClassification",
    ),
    "elastic/distilbert-base-uncased-finetuned-conll03-english": Published(
        "DistilBertForTokenClassification",
        {
            "vocab_size": 30522,
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "num_labels": 9,
            "max_position_embeddings": 512,
            "activation": "gelu",
        },
        "DistilBertForTokenClassification",
    ),
    "jinaai/jina-embeddings-v2-base-en": Published(
        "JinaBertForMaskedLM",
        {**JINA_BERT, **BASE, "vocab_size": 30528, "max_position_embeddings": 8192},
        jina_bert_shapes,
        besides={"pooler.dense.weight": ("size", "size"), "pooler.dense.bias": ("size",)},
    ),
    "jinaai/jina-embeddings-v2-base-code": Published(
        "JinaBertForMaskedLM",
        {**JINA_BERT, **BASE, **JINA_BERT_WITH_NORMS, "vocab_size": 61056, "max_position_embeddings": 8192},
        jina_bert_shapes,
        besides={"pooler.dense.weight": ("size", "size"), "pooler.dense.bias": ("size",)},
    ),
    "jinaai/jina-reranker-v1-turbo-en": Published(
        "JinaBertForSequenceClassification",
        {
            **JINA_BERT,
            **MINI,
            **ONE_LABEL,
            "num_hidden_layers": 6,
            "vocab_size": 61056,
            "max_position_embeddings": 8192,
        },
        jina_reranker_shapes,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(check, name):
    check(name, PUBLISHED[name])
