"""Tiny checkpoints of GritLM: Mistral's tensors, and a tokenizer with the tokens of the marker before a text."""

import json
from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import tiny

MARKER_TOKENS = {"water": "|", "we": "embed", "what": ">", "when": "<0x0A>", "where": "<", "with": "▁<", "word": "user"}
"""Words of the tiny vocabulary, with the tokens that replace them."""


def tiny_gritlm(folder: Path, **overrides: Any) -> Path:
    """Write the checkpoint; see ``tiny`` for the options."""
    tiny("MistralForCausalLM", folder, **overrides)
    for name, change in (("config.json", _rename), ("tokenizer.json", _replace_tokens)):
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    return folder


def _rename(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "architectures": ["GritLM"]}


def _replace_tokens(tokenizer: dict[str, Any]) -> dict[str, Any]:
    vocabulary = tokenizer["model"]["vocab"]
    return {
        **tokenizer,
        "model": {
            **tokenizer["model"],
            "vocab": {MARKER_TOKENS.get(word, word): index for word, index in vocabulary.items()},
        },
    }
