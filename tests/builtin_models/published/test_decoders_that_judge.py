"""Published checkpoints of decoders as classifiers, rerankers and reward models."""

import pytest

from millpond_models.testing.published import Published

DECODER = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768}
QWEN3 = {
    **DECODER, "vocab_size": 151669, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
}  # fmt: skip
QWEN2 = {
    **DECODER, "vocab_size": 151646, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_1B = {
    **DECODER, "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
}  # fmt: skip
MISTRAL = {
    **DECODER, "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "sliding_window": 4096, "tie_word_embeddings": False,
}  # fmt: skip
GEMMA = {"head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, **DECODER}
INTERNLM = {**DECODER, "vocab_size": 92544, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24}
INTERNLM |= {"num_attention_heads": 16, "num_key_value_heads": 8, "bias": False, "tie_word_embeddings": False}
ONE_LABEL = {"num_labels": 1}


def two_maps(labels):
    """Return the head of Qwen's reward models."""
    first = {"score.0.weight": ("size", "size"), "score.0.bias": ("size",)}
    return {**first, "score.2.weight": (labels, "size"), "score.2.bias": (labels,)}


def internlm_shapes(config):
    """Return InternLM2's names, with fused query, key and value."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    heads = size // config["num_attention_heads"] * (config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    shapes = {"model.tok_embeddings.weight": (config["vocab_size"], size), "model.norm.weight": (size,)}
    for layer in range(config["num_hidden_layers"]):
        maps = {"attention.wqkv": (heads, size), "attention.wo": (size, size), "feed_forward.w1": (inner, size)}
        maps |= {"feed_forward.w2": (size, inner), "feed_forward.w3": (inner, size)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in maps.items()}
        shapes |= {f"model.layers.{layer}.{name}.weight": (size,) for name in ("attention_norm", "ffn_norm")}
    return shapes


PUBLISHED = {
    "Qwen/Qwen3-Reranker": Published(
        "Qwen3ForCausalLM",
        {**QWEN3, "classifier_from_token_ids": [2152, 9693], "method": "from_2_way_softmax"},
        "Qwen3ForCausalLM",
        without=r"lm_head\..*",
        options={"hf_overrides": {"architectures": ["Qwen3ForSequenceClassification"]}},
    ),
    "tomaarsen/Qwen3-Reranker-0.6B-seq-cls": Published(
        "Qwen3ForSequenceClassification", {**QWEN3, **ONE_LABEL}, "Qwen3ForSequenceClassification"
    ),
    "bd2lcco/Qwen3-0.6B-finetuned": Published(
        "Qwen3ForTokenClassification", {**QWEN3, "num_labels": 9}, "Qwen3ForTokenClassification"
    ),
    "mixedbread-ai/mxbai-rerank-base-v2": Published(
        "Qwen2ForCausalLM",
        {
            **QWEN2,
            "tie_word_embeddings": True,
            "classifier_from_token_ids": [15, 16],
            "method": "from_2_way_softmax",
        },
        "Qwen2ForCausalLM",
        without=r"lm_head\..*",
        options={"hf_overrides": {"architectures": ["Qwen2ForSequenceClassification"]}},
    ),
    "jason9693/Qwen2.5-1.5B-apeach": Published(
        "Qwen2ForSequenceClassification", {**QWEN2, "num_labels": 2}, "Qwen2ForSequenceClassification"
    ),
    "Qwen/Qwen2.5-Math-RM-72B": Published(
        "Qwen2ForRewardModel",
        {
            **QWEN2,
            "hidden_size": 8192,
            "intermediate_size": 29568,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
        },
        "Qwen2ForCausalLM",
        besides=two_maps(1),
    ),
    "Qwen/Qwen2.5-Math-PRM-7B": Published(
        "Qwen2ForProcessRewardModel",
        {**QWEN2, "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
        "Qwen2ForCausalLM",
        besides=two_maps(2),
    ),
    "internlm/internlm2-1_8b-reward": Published(
        "InternLM2ForRewardModel", INTERNLM, internlm_shapes, besides={"v_head.weight": (1, "size")}
    ),
    "Skywork/Skywork-Reward-V2-Llama-3.2-1B": Published(
        "LlamaForSequenceClassification", {**LLAMA_1B, **ONE_LABEL}, "LlamaForSequenceClassification"
    ),
    "Skywork/Skywork-Reward-V2-Qwen3-0.6B": Published(
        "Qwen3ForSequenceClassification", {**QWEN3, **ONE_LABEL}, "Qwen3ForSequenceClassification"
    ),
    "nvidia/llama-nemotron-rerank-1b-v2": Published(
        "LlamaBidirectionalForSequenceClassification",
        {**LLAMA_1B, **ONE_LABEL, "pooling": "avg"},
        "LlamaForSequenceClassification",
    ),
    "peiyi9979/math-shepherd-mistral-7b-prm": Published(
        "MistralForCausalLM",
        MISTRAL,
        "MistralForCausalLM",
        options={"pooler_config": {"pooling_type": "STEP", "step_tag_id": 12902, "returned_token_ids": [648, 387]}},
        besides={"model.layers.0.self_attn.rotary_emb.inv_freq": (64,)},
    ),
    "BAAI/bge-reranker-v2-gemma": Published(
        "GemmaForCausalLM",
        {
            **GEMMA,
            "vocab_size": 256000,
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
        },
        "GemmaForCausalLM",
        without=r"lm_head\..*",
        options={
            "hf_overrides": {
                "architectures": ["GemmaForSequenceClassification"],
                "classifier_from_token_ids": [3553],
                "method": "no_post_processing",
            }
        },
    ),
    "nie3e/sentiment-polish-gpt2-small": Published(
        "GPT2ForSequenceClassification",
        {
            "vocab_size": 50257,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_positions": 1024,
            "num_labels": 3,
            "activation_function": "gelu_new",
        },
        "GPT2ForSequenceClassification",
        besides={f"transformer.h.{layer}.attn.bias": (1, 1, 1024, 1024) for layer in range(12)},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(check, name):
    check(name, PUBLISHED[name])
