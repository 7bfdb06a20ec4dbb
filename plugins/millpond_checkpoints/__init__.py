"""The files of a model: checks, headers of tensors, hashes, the space of its embeddings, and model files."""
