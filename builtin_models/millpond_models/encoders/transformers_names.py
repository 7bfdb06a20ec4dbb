"""Weight names of transformers 5 for the encoders of Jina, Nomic and GTE; published files use others.

``save_pretrained`` writes the published names by default; a state dict has these.
"""

TRANSFORMERS_NAMES = (
    (r"layers\.(\d+)\.self_attn\.q_proj\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
    (r"layers\.(\d+)\.self_attn\.k_proj\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
    (r"layers\.(\d+)\.self_attn\.v_proj\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
    (r"layers\.(\d+)\.self_attn\.o_proj\.(\w+)", r"layers.\1.attention.output.\2"),
    (r"layers\.(\d+)\.post_attention_layernorm\.(\w+)", r"layers.\1.attention_norm.\2"),
    (r"layers\.(\d+)\.mlp\.fc1\.(\w+)", r"layers.\1.feed_forward.up.\2"),
    (r"layers\.(\d+)\.mlp\.fc2\.(\w+)", r"layers.\1.feed_forward.down.\2"),
    (r"layers\.(\d+)\.mlp\.gate_proj\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@0"),
    (r"layers\.(\d+)\.mlp\.up_proj\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@1"),
    (r"layers\.(\d+)\.mlp\.down_proj\.(\w+)", r"layers.\1.feed_forward.down.\2"),
    (r"layers\.(\d+)\.post_mlp_layernorm\.(\w+)", r"layers.\1.feed_forward_norm.\2"),
)
"""Patterns and replacements, as in ``PoolingModel.weight_names``."""
