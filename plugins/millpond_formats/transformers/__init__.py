"""The files of transformers: config.json, the tokenizer's files, and their conventions. Does not import torch."""
