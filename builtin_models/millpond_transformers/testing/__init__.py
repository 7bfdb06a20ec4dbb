"""Tiny checkpoints of vision-language models, written by model classes of transformers."""
