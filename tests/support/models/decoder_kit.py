"""Architectures, lengths and tolerances for tests of decoders."""

from functools import partial

from millpond.testing.checkpoints import vocabulary
from millpond.testing.comparisons import random_prompts

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3", "Phi3", "Gemma", "Gemma2")
NAMES = tuple(f"{family}Model" for family in FAMILIES)
VOCABULARY = len(vocabulary("decoder"))


prompts_of = partial(random_prompts, VOCABULARY, first=4)


LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value
