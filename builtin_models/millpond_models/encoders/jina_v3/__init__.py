"""jina-embeddings-v3: XLM-RoBERTa with rotary positions and task adapters."""
