"""Readers of checkpoint formats: sentence-transformers, PyLate, Stanford ColBERT, model2vec, PEFT."""
