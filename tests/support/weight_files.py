"""Replaces the weights of a tiny checkpoint, like an update of a model while programs use it."""

from pathlib import Path

from safetensors.torch import load_file, save_file


def replace_weights(folder: Path | str) -> None:
    """Put a file with other weights in the place of model.safetensors; programs that mapped the old one keep it."""
    path = Path(folder) / "model.safetensors"
    new = path.with_name("new.tmp")
    save_file({name: tensor + 0.3 for name, tensor in load_file(path).items()}, new, metadata={"format": "pt"})
    new.replace(path)
