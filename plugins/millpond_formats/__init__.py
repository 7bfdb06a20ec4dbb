"""The formats in which checkpoints are published beside config.json: sentence-transformers, PyLate, ColBERT and more."""
