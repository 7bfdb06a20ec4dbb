"""The formats of checkpoint files beside config.json: sentence-transformers, PyLate, ColBERT, model2vec, PEFT."""
