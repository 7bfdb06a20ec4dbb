"""Tiny checkpoints of vision-language models, written by the classes of transformers."""
