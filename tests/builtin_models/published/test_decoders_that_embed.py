"""Published checkpoints of embedding decoders."""

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
PUBLISHED = {
    "Qwen/Qwen3-Embedding-0.6B": Published("Qwen3ForCausalLM", QWEN3, "Qwen3Model", options={"runner": "pooling"}),
    "voyageai/voyage-4-nano": Published(
        "VoyageQwen3BidirectionalEmbedModel",
        {**QWEN3, "num_labels": 2048},
        "Qwen3Model",
        prefix="model.",
        besides={"linear.weight": (2048, "size")},
    ),
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": Published("Qwen2ForCausalLM", {**QWEN2, "is_causal": False}, "Qwen2Model"),
    "Alibaba-NLP/gte-Qwen2-7B-instruct": Published(
        "Qwen2ForCausalLM",
        {**QWEN2, "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
        "Qwen2Model",
    ),
    "nvidia/llama-nemotron-embed-1b-v2": Published(
        "LlamaBidirectionalModel", {**LLAMA_1B, "pooling": "avg"}, "LlamaModel"
    ),
    "intfloat/e5-mistral-7b-instruct": Published("MistralModel", MISTRAL, "MistralModel"),
    "parasail-ai/GritLM-7B-vllm": Published("GritLM", MISTRAL, "MistralForCausalLM"),
    "BAAI/bge-multilingual-gemma2": Published(
        "Gemma2Model",
        {
            **GEMMA,
            "vocab_size": 256002,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        "Gemma2Model",
    ),
    "google/embeddinggemma-300m": Published(
        "Gemma3TextModel",
        {
            **GEMMA,
            "vocab_size": 262144,
            "hidden_size": 768,
            "intermediate_size": 1152,
            "num_hidden_layers": 24,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "sliding_window": 512,
            "query_pre_attn_scalar": 256,
            "use_bidirectional_attention": True,
            "rope_local_base_freq": 10000.0,
        },
        "Gemma3TextModel",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(check, name):
    check(name, PUBLISHED[name])
