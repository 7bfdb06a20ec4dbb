"""Published checkpoints of vision models: CLIP, SigLIP, VLM2Vec, Llama Nemotron VL."""

import pytest

from millpond_models.testing.nemotron_vl import nemotron_vl_shapes
from millpond_models.testing.phi3_vision import IMG_PROCESSOR, phi3_vision_shapes
from millpond_models.testing.phi3_vision import PUBLISHED as PHI3_VISION
from millpond_models.testing.published import Published

DECODER = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768}
LLAMA_1B = {
    **DECODER, "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
}  # fmt: skip
NEMOTRON_VL = {
    "vocab_size": 128266, "force_image_size": 512, "img_context_token_id": 128258, "select_layer": -1, "pooling": "avg",
    "llm_config": {**LLAMA_1B, "vocab_size": 128266, "architectures": ["LlamaBidirectionalModel"]},
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 512, "patch_size": 16,
    },
}  # fmt: skip
PHI3_VISION = {
    **PHI3_VISION, "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096, "sliding_window": 262144, "tie_word_embeddings": False,
    "rope_scaling": {"type": "su", "short_factor": [1.08] * 48, "long_factor": [1.09] * 48},
    "img_processor": {**IMG_PROCESSOR, "image_dim_out": 1024},
}  # fmt: skip


def phi3_vision_with_clip(config):
    """Return Phi-3-vision's names; config.json only names its vision encoder, openai/clip-vit-large-patch14-336."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 336}
    return phi3_vision_shapes({**config, "vision_config": {**sizes, "patch_size": 14}})


PUBLISHED = {
    "openai/clip-vit-base-patch32": Published(
        "CLIPModel",
        {"projection_dim": 512, "text_config": {}, "vision_config": {}},
        "CLIPModel",
        besides={
            "text_model.embeddings.position_ids": (1, 77),
            "vision_model.embeddings.position_ids": (1, 50),
        },
    ),
    "google/siglip-base-patch16-224": Published("SiglipModel", {"text_config": {}, "vision_config": {}}, "SiglipModel"),
    "TIGER-Lab/VLM2Vec-Full": Published(
        "Phi3VForCausalLM",
        {key: value for key, value in PHI3_VISION.items() if key != "architectures"},
        phi3_vision_with_clip,
        besides={
            "model.vision_embed_tokens.wte.weight": (32064, "size"),
            "model.vision_embed_tokens.img_processor.vision_model.embeddings.position_ids": (1, 577),
        },
    ),
    "nvidia/llama-nemotron-embed-vl-1b-v2": Published(
        "LlamaNemotronVLModel",
        NEMOTRON_VL,
        nemotron_vl_shapes,
        besides={"language_model.lm_head.weight": (128266, 2048)},
    ),
    "nvidia/llama-nemotron-rerank-vl-1b-v2": Published(
        "LlamaNemotronVLForSequenceClassification",
        {**NEMOTRON_VL, "num_labels": 1},
        nemotron_vl_shapes,
        prefix="model.",
        besides={"score.weight": (1, 2048)},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(check, name):
    check(name, PUBLISHED[name])
