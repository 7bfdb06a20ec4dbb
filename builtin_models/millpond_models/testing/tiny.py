"""Tiny checkpoints of the built-in text models, by architecture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import (
    Shape,
    random_tensors,
    vocabulary,
    write_config,
    write_tokenizer,
    write_weights,
)
from millpond.testing.tokenizers import SPECIAL
from millpond.types.errors import UnknownNameError
from millpond_models.testing.bert import FAMILY as BERT_FAMILY
from millpond_models.testing.bert import bert_config, bert_shapes
from millpond_models.testing.biased import BIASED, TOKENS, biased_shapes
from millpond_models.testing.decoders import DECODERS, decoder_config, decoder_shapes
from millpond_models.testing.encoder_families import ENCODER_FAMILIES, encoder_family_shapes
from millpond_models.testing.encoders import JINA, ROTARY_ENCODERS, is_jina, jina_shapes, rotary_encoder_shapes
from millpond_models.testing.heads import MASKED, SEQUENCE, TOKEN, label_names, with_head

FAMILY = {**BERT_FAMILY, **dict.fromkeys(DECODERS, "decoder")}
BACKBONES = {
    f"{name.removesuffix('Model')}{head}": name
    for name in FAMILY
    if name.endswith("Model")
    for head in (SEQUENCE, TOKEN)
} | {
    **{f"{family}{MASKED}": f"{family}Model" for family in ("Bert", "Roberta", "XLMRoberta", "Camembert")},
    "ModernBertForSequenceClassification": "ModernBertModel",
    "ModernBertForTokenClassification": "ModernBertModel",
    **{
        f"{family}{head}": f"{family}Model"
        for family in ("New", "GteNew", "Gte", "NomicBert", "JinaEmbeddingsV3")
        for head in (SEQUENCE, TOKEN)
    },
}
TOKENIZERS = {
    **FAMILY,
    **dict.fromkeys([*ROTARY_ENCODERS, *ENCODER_FAMILIES], "bert"),
    "JinaEmbeddingsV3Model": "roberta",
    **TOKENS,
}


def tiny(
    architecture: str,
    path: Path | str,
    *,
    seed: int = 0,
    dtype: str = "float32",
    prefix: str = "",
    shards: int = 1,
    tokenizer: bool = True,
    num_labels: int | None = None,
    **overrides: Any,
) -> Path:
    """Write a small random checkpoint of an architecture: two layers (ModernBERT: four), 32 dimensions, 64 positions.

    ``tiny("XLMRobertaModel", path, position_embedding_type="rotary")`` is like jina-embeddings-v3, with adapters.

    Args:
        architecture: An encoder, such as "BertModel", "ModernBertModel" or "GteModel", or a decoder, such as
            "LlamaModel" or "LlamaForCausalLM". Most have classifiers too, such as "BertForSequenceClassification" and
            "BertForTokenClassification"; BERT, RoBERTa, XLM-RoBERTa and CamemBERT have masked language models, such as
            "BertForMaskedLM". The error for an unknown architecture lists all of them.
        path: The folder to write; created if missing.
        seed: Seed of the random weights.
        dtype: The name of the dtype of the weights.
        prefix: Prefix of the name of every tensor.
        shards: Number of safetensors files.
        tokenizer: False to omit the tokenizer.
        num_labels: Number of classes of a classifier; None to omit the labels, which means 2.
        **overrides: Fields of config.json; None removes a field.

    Returns:
        The folder.

    Raises:
        UnknownNameError: If the architecture is unknown.
    """
    backbone = BACKBONES.get(architecture, architecture)
    if backbone not in TOKENIZERS:
        message = (
            f"Unknown architecture {architecture!r} for a tiny checkpoint. Available: "
            f"{', '.join([*TOKENIZERS, *BACKBONES])}. Checkpoints of other architectures can be written with "
            "write_config, random_tensors, write_weights and write_tokenizer"
        )
        raise UnknownNameError(message)
    folder = Path(path)
    full = {**_default_config(backbone, dtype), **(JINA if is_jina(overrides) else {}), **overrides}
    labels = {} if num_labels is None else label_names(num_labels)
    full |= {"architectures": overrides.get("architectures", [architecture]), **labels}
    tensors = _shapes(backbone, full)
    if backbone != architecture:
        tensors = with_head(architecture, full, tensors)
    write_config(folder, {key: value for key, value in full.items() if value is not None})
    shapes = {f"{prefix}{name}": shape for name, shape in tensors.items()}
    write_weights(folder, random_tensors(shapes, seed=seed, dtype=dtype), shards=shards)
    if tokenizer:
        write_tokenizer(folder, TOKENIZERS[backbone])
    return folder


def _default_config(backbone: str, dtype: str) -> dict[str, Any]:
    if TOKENIZERS[backbone] == "decoder":
        return _decoder_config(backbone, dtype)
    config = ROTARY_ENCODERS.get(backbone) or ENCODER_FAMILIES.get(backbone) or BIASED.get(backbone)
    if config is None:
        return bert_config(backbone, dtype)
    family = TOKENIZERS[backbone]
    tokens = vocabulary(family)
    return {**config, "vocab_size": len(tokens), "pad_token_id": tokens[SPECIAL[family]["pad"]], "dtype": dtype}


def _shapes(backbone: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    if TOKENIZERS[backbone] == "decoder":
        return decoder_shapes(config)
    if backbone in ROTARY_ENCODERS:
        return rotary_encoder_shapes(backbone, config)
    if backbone in ENCODER_FAMILIES:
        return encoder_family_shapes(backbone, config)
    if backbone in BIASED:
        return biased_shapes(backbone, config)
    return jina_shapes(config) if is_jina(config) else bert_shapes(config)


def _decoder_config(architecture: str, dtype: str) -> dict[str, Any]:
    tokens, special = vocabulary("decoder"), SPECIAL["decoder"]
    ids = {f"{role}_token_id": tokens[special[role]] for role in ("pad", "bos", "eos")}
    return {**decoder_config(architecture), "vocab_size": len(tokens), **ids, "dtype": dtype}
