"""The modules that modules.json names. Types are matched by their last name, never imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.loading.files import inside, read_json, read_object
from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError

FAMILIES = ("sentence_transformers.", "pylate.")
TRANSFORMERS = ("Transformer", "MLMTransformer", "CLIPModel")
STATIC = "StaticEmbedding"  # a table of tokens, and their mean
WITH_WEIGHTS = (*TRANSFORMERS, STATIC)
SPARSE_AUTOENCODER = "SparseAutoEncoder"  # makes one pooled vector sparse
DENSE, LAYER_NORM, NORMALIZE, DROPOUT = "Dense", "LayerNorm", "Normalize", "Dropout"
PRELU = "prelu"  # the one activation of Dense modules with a parameter of its own
LAYER_POOLING, CNN = "WeightedLayerPooling", "CNN"
ROUTER, QUERY_TABLE = "Router", "SparseStaticEmbedding"
TOKENS, POOLED = "token_embeddings", "sentence_embedding"  # what a module may read
SCORES = "scores"  # what the last module of a CrossEncoder writes
CONFIG_FILES = {CNN: "cnn_config.json", ROUTER: "router_config.json"}  # of the others config.json
NORMALIZED = "normalizes_input"  # added to the config of a SparseAutoEncoder behind a Normalize module
NEED_CONFIG = ("Pooling", DENSE, LAYER_NORM, LAYER_POOLING, CNN, SPARSE_AUTOENCODER)


def reads(module: ModuleFacts, default: str) -> object:
    """The name of what a module reads, such as ``token_embeddings``."""
    return module.config.get("module_input_name", default)


def read_modules(folder: Path) -> tuple[ModuleFacts, ...]:
    """The modules of a folder, in order; empty if it has no modules.json.

    Raises:
        CheckpointError: If the file is damaged, or a module lacks its config.
    """
    path = folder / "modules.json"
    if not path.exists():
        return ()
    lines = read_json(path)
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        message = f"{path} should hold a list of objects with 'idx', 'name', 'path' and 'type'"
        raise CheckpointError(message)
    return tuple(read_module(folder, line, path) for line in sorted(lines, key=_place))


def read_module(folder: Path, line: Mapping[str, Any], path: Path) -> ModuleFacts:
    """One module.

    Args:
        folder: The folder that its path is relative to.
        line: Its ``path`` and ``type``.
        path: The file that names it, for errors.
    """
    dotted = str(line.get("type", ""))
    home = inside(folder, line.get("path", ""), written_in=path)
    name = dotted.rpartition(".")[2] if dotted.startswith(FAMILIES) else dotted
    file = home / CONFIG_FILES.get(name, "config.json")
    config = read_object(file) if name not in TRANSFORMERS else {}
    if name in NEED_CONFIG and not config:
        message = f"{path} names a {name} module in {home.name!r}, and {file} is missing or empty"
        raise CheckpointError(message)
    return ModuleFacts(type=name, path=home, config=config)


def positive(value: object) -> int | None:
    """The value if it is a positive integer; else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _place(line: Mapping[str, Any]) -> int:
    index = line.get("idx", 0)
    return index if isinstance(index, int) else 0
