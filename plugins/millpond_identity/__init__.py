"""The identity of a model: hashes of its files, the space of its embeddings, and model files with its settings."""
