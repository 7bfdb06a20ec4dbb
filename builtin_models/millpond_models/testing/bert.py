"""config.json and tensor shapes of small BERT, ERNIE and RoBERTa checkpoints."""

from collections.abc import Mapping
from typing import Any

from millpond.testing.checkpoints import Shape
from millpond.testing.tokenizers import SPECIAL, vocabulary

FAMILY = {
    "BertModel": "bert",
    "ErnieModel": "bert",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "roberta",
    "CamembertModel": "roberta",
}
"""The tokenizer family of each architecture."""
MODEL_TYPE = {
    "BertModel": "bert",
    "ErnieModel": "ernie",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "xlm-roberta",
    "CamembertModel": "camembert",
}


def bert_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of a BERT, ERNIE or RoBERTa checkpoint by transformers' names, without the pooler."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], size),
        "embeddings.LayerNorm.weight": (size,),
        "embeddings.LayerNorm.bias": (size,),
    }
    if config.get("use_task_id"):
        shapes["embeddings.task_type_embeddings.weight"] = (config["task_type_vocab_size"], size)
    for number in range(config["num_hidden_layers"]):
        layers = {f"attention.self.{name}": (size, size) for name in ("query", "key", "value")}
        layers |= {
            "attention.output.dense": (size, size),
            "intermediate.dense": (inner, size),
            "output.dense": (size, inner),
        }
        for name, shape in layers.items():
            shapes[f"encoder.layer.{number}.{name}.weight"] = shape
            shapes[f"encoder.layer.{number}.{name}.bias"] = shape[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{number}.{name}.weight"] = (size,)
            shapes[f"encoder.layer.{number}.{name}.bias"] = (size,)
    return shapes


def bert_config(architecture: str, dtype: str) -> dict[str, Any]:
    """Return the config.json of a BERT, ERNIE or RoBERTa checkpoint."""
    family = FAMILY[architecture]
    tokens, special = vocabulary(family), SPECIAL[family]
    task = {"use_task_id": True, "task_type_vocab_size": 3} if architecture == "ErnieModel" else {}
    return {
        **task,
        "architectures": [architecture],
        "model_type": MODEL_TYPE[architecture],
        "vocab_size": len(tokens),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 64 if family == "bert" else 66,
        "type_vocab_size": 2 if family == "bert" else 1,
        "layer_norm_eps": 1e-12 if family == "bert" else 1e-5,
        "position_embedding_type": "absolute",
        "pad_token_id": tokens[special["pad"]],
        "bos_token_id": tokens[special["cls"]],
        "eos_token_id": tokens[special["sep"]],
        "dtype": dtype,
    }
