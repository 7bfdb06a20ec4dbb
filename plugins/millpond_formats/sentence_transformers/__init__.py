"""The files of sentence-transformers: what they say of a model, and the modules that they name."""
