"""XLM-RoBERTa, with rotary positions and task adapters in jina-embeddings-v3."""
