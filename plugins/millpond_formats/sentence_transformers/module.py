"""Reads the modules in modules.json. Types are matched by the last part of their name and never imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.model.files import inside, read_json, read_object
from millpond.model.spec import ModuleSettings
from millpond.types.errors import CheckpointError

FAMILIES = ("sentence_transformers.", "pylate.")
TRANSFORMERS = ("Transformer", "MLMTransformer", "CLIPModel")
STATIC = "StaticEmbedding"  # token embeddings and their mean
WITH_WEIGHTS = (*TRANSFORMERS, STATIC)
SPARSE_AUTOENCODER = "SparseAutoEncoder"
DENSE, LAYER_NORM, NORMALIZE, DROPOUT = "Dense", "LayerNorm", "Normalize", "Dropout"
PRELU = "prelu"  # the only activation of Dense modules with a parameter
LAYER_POOLING, CNN = "WeightedLayerPooling", "CNN"
ROUTER, STATIC_QUERY_WEIGHTS = "Router", "SparseStaticEmbedding"
TOKENS, POOLED = "token_embeddings", "sentence_embedding"  # possible inputs of a module
SCORES = "scores"  # the output of the last module of a CrossEncoder
CONFIG_FILES = {CNN: "cnn_config.json", ROUTER: "router_config.json"}  # config.json for all others
NORMALIZED = "normalizes_input"  # added to the config of a SparseAutoEncoder after a Normalize module
NEED_CONFIG = ("Pooling", DENSE, LAYER_NORM, LAYER_POOLING, CNN, SPARSE_AUTOENCODER)


def reads(module: ModuleSettings, default: str) -> object:
    """Return the name of a module's input, such as ``token_embeddings``."""
    return module.config.get("module_input_name", default)


def read_modules(folder: Path) -> tuple[ModuleSettings, ...]:
    """Read the modules of a folder, in order; empty without a modules.json.

    Raises:
        CheckpointError: If the file is damaged, or a module lacks its config.
    """
    path = folder / "modules.json"
    if not path.exists():
        return ()
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        message = f"{path} must contain a list of objects with 'idx', 'name', 'path' and 'type'"
        raise CheckpointError(message)
    return tuple(read_module(folder, entry, path) for entry in sorted(entries, key=_index))


def read_module(folder: Path, entry: Mapping[str, Any], path: Path) -> ModuleSettings:
    """Read one module.

    Args:
        folder: The folder that its path is relative to.
        entry: The ``path`` and ``type`` of the module.
        path: The file that names it, for errors.

    Raises:
        CheckpointError: If the module lacks its config.
    """
    dotted = str(entry.get("type", ""))
    home = inside(folder, entry.get("path", ""), written_in=path)
    name = dotted.rpartition(".")[2] if dotted.startswith(FAMILIES) else dotted
    file = home / CONFIG_FILES.get(name, "config.json")
    config = read_object(file) if name not in TRANSFORMERS else {}
    if name in NEED_CONFIG and not config:
        message = f"{path} names a {name} module in {home.name!r}, but {file} is missing or empty"
        raise CheckpointError(message)
    return ModuleSettings(type=name, path=home, config=config)


def positive(value: object) -> int | None:
    """Return the value if it is a positive integer, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _index(entry: Mapping[str, Any]) -> int:
    index = entry.get("idx", 0)
    return index if isinstance(index, int) else 0
