"""Hidden states of jina-embeddings-v3, computed by transformers."""

from functools import reduce

import pytest
import torch
from jina_kit import NAMES, merged
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def jina_reference(transformers):
    """The hidden states of transformers, with its weight names and separate query, key and value."""

    def jina_reference(folder, prompts, task=-1, *, dtype=torch.float32):
        config = transformers.AutoConfig.from_pretrained(folder).to_dict()
        scale = config.get("lora_alpha", 1) / config.get("lora_rank", 1)
        state = {}
        for name, tensor in merged(load_file(folder / "model.safetensors"), task, scale).items():
            other = reduce(lambda text, pair: text.replace(*pair), NAMES, name)
            if "Wqkv" in name:
                parts = zip("qkv", tensor.chunk(3), strict=True)
                state |= {other.replace("mixer.Wqkv", f"self_attn.{part}_proj"): values for part, values in parts}
            elif not name.startswith("pooler"):
                state[other] = tensor
        keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        model_config = transformers.JinaEmbeddingsV3Config(
            **{key: config[key] for key in (*keys, "hidden_act", "layer_norm_eps", "type_vocab_size")},
            rope_parameters={"rope_type": "default", "rope_theta": config["rotary_emb_base"]},
        )
        model = transformers.JinaEmbeddingsV3Model(model_config, add_pooling_layer=False)
        model.load_state_dict(state)
        model = model.eval().to(dtype)
        with torch.inference_mode():
            return [model(torch.tensor([ids])).last_hidden_state[0].float().numpy() for ids in prompts]

    return jina_reference
