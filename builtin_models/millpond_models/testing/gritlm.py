"""A small GritLM: Mistral's tensors, and a tokenizer that has the pieces of the marker before a text."""

import json
from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import tiny

PIECES = {"water": "|", "we": "embed", "what": ">", "when": "<0x0A>", "where": "<", "with": "▁<", "word": "user"}
"""Words of the tiny vocabulary, and the pieces that stand in their places."""


def tiny_gritlm(folder: Path, **overrides: Any) -> Path:
    """Write the checkpoint; see ``tiny``."""
    tiny("MistralForCausalLM", folder, **overrides)
    for name, change in (("config.json", _named), ("tokenizer.json", _with_pieces)):
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    return folder


def _named(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "architectures": ["GritLM"]}


def _with_pieces(tokenizer: dict[str, Any]) -> dict[str, Any]:
    words = tokenizer["model"]["vocab"]
    return {
        **tokenizer,
        "model": {**tokenizer["model"], "vocab": {PIECES.get(word, word): place for word, place in words.items()}},
    }
