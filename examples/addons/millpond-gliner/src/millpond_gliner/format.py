"""The checkpoint format of the package gliner: gliner_config.json, with the config of the encoder in it."""

from collections.abc import Mapping
from typing import Any

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond.types.errors import CheckpointError
from millpond_checkpoints.headers import read_headers

CONFIG_FILE = "gliner_config.json"
SPAN_MODES = ("markerV0",)
ENCODER_TYPE = "deberta-v2"
EMBEDDINGS = "token_rep_layer.bert_layer.model.embeddings.word_embeddings.weight"
UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "post_fusion_schema": ("", None),
    "fuse_layers": (False, None),
    "span_encoder_config": (None,),
    "labels_encoder": (None,),
    "labels_decoder": (None,),
    "relations_layer": (None,),
    "subtoken_pooling": ("first", None),
    "words_splitter_type": ("whitespace", None),
}
"""Keys of other variants of GLiNER, each with the values of the variant that is implemented."""
DEBERTA_V3: Mapping[str, Any] = {
    "model_type": ENCODER_TYPE,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}
LARGE_SIZES = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "microsoft/deberta-v3-small": {**DEBERTA_V3, "num_hidden_layers": 6},
    "microsoft/deberta-v3-base": DEBERTA_V3,
    "microsoft/deberta-v3-large": {**DEBERTA_V3, **LARGE_SIZES},
}
"""The encoders of the first published models, whose files only name them."""


def read_gliner(repository: Repository) -> list[Layer]:
    """Return the config of the model.

    Raises:
        CheckpointError: If the files are those of another variant of GLiNER.
    """
    path = repository.path / CONFIG_FILE
    stated = read_object(path)
    for key, values in UNSUPPORTED.items():
        if stated.get(key, values[0]) not in values:
            message = f"{path}: {key} {stated[key]!r} is not supported. Supported: {values[0]!r}"
            raise CheckpointError(message)
    mode = stated.get("span_mode", SPAN_MODES[0])
    if mode not in SPAN_MODES:
        message = f"{path}: span_mode {mode!r} is not supported. Supported: {', '.join(SPAN_MODES)}"
        raise CheckpointError(message)
    encoder = _encoder_config(stated, str(path))
    sizes = [header.shape[0] for header in read_headers(repository.path) if header.name == EMBEDDINGS]
    vocabulary = sizes[0] if sizes else stated.get("vocab_size", -1)
    settings = {"gliner": stated, "architectures": ["GlinerSpanModel"]}
    known_size = {"vocab_size": vocabulary} if vocabulary > 0 else {}
    return [Layer(CONFIG_FILE, {"files.config": {**encoder, **known_size, **settings}})]


def _encoder_config(stated: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    name, encoder = str(stated.get("model_name")), stated.get("encoder_config")
    if not isinstance(encoder, dict):
        if name not in ENCODERS:
            message = (
                f"{path} has no encoder_config, and its model_name {name!r} is unknown. Known: {', '.join(ENCODERS)}"
            )
            raise CheckpointError(message)
        return ENCODERS[name]
    if encoder.get("model_type") != ENCODER_TYPE:
        message = f"{path}: the encoder {encoder.get('model_type')!r} is not supported. Supported: {ENCODER_TYPE}"
        raise CheckpointError(message)
    return encoder
