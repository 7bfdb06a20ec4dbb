"""Multi-vector and sparse retrieval models (ColBERT, SPLADE, bge-m3), and static embeddings."""
