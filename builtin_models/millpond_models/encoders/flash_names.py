"""Weight names of encoders written for FlashAttention: the checkpoints of Jina and Nomic."""

FLASH_NAMES = (
    (r"emb_ln\.(weight|bias)", r"embeddings.norm.\1"),
    (r"encoder\.layers\.(\d+)\.(?:mixer|attn)\.Wqkv\.(\w+)", r"layers.\1.attention.qkv.\2"),
    (r"encoder\.layers\.(\d+)\.(?:mixer|attn)\.out_proj\.(\w+)", r"layers.\1.attention.output.\2"),
    (r"encoder\.layers\.(\d+)\.norm1\.(\w+)", r"layers.\1.attention_norm.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc1\.(\w+)", r"layers.\1.feed_forward.up.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc2\.(\w+)", r"layers.\1.feed_forward.down.\2"),
    (r"encoder\.layers\.(\d+)\.norm2\.(\w+)", r"layers.\1.feed_forward_norm.\2"),
)
"""Patterns and replacements, as in ``PoolingModel.weight_names``; query, key and value are fused in checkpoints too."""
