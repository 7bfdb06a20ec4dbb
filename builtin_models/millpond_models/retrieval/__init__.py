"""Models for retrieval by tokens: ColBERT, SPLADE, bge-m3; and static embeddings."""
