"""Checks of the files of a model before another library reads them. Does not import torch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.model.files import TOKENIZER_FILE, read_bytes, read_header_text, read_json, read_object, walk_files
from millpond.regular_file import NOT_REGULAR
from millpond.types.errors import CheckpointError

MAX_VOCABULARY_BYTES = 2**25  # of vocab.txt, merges.txt and sentencepiece models
MAX_VOCABULARY = 1_000_000  # tokens, or lines of a file
MAX_ADDED_TOKENS = 50_000  # transformers reads about ten a millisecond
MAX_ENTRIES = 10_000  # files and folders, for libraries that look at each of them
VOCABULARY_SUFFIXES = (".txt", ".model", ".bpe")


def check_foreign_reading(folder: Path, *, recursive: bool = True) -> None:
    """Check all files of a folder before another library reads them.

    Files of JSON, vocabularies and safetensors must have a size that this library reads, too; no file may be a pipe or
    a device.

    Raises:
        CheckpointError: If one cannot be read.
    """
    if recursive and sum(len(folders) + len(files) for _, folders, files in os.walk(folder)) > MAX_ENTRIES:
        message = f"{folder} contains more than {MAX_ENTRIES} files and folders: it is not the folder of a model"
        raise CheckpointError(message)
    for path in sorted(walk_files(folder)) if recursive else sorted(it for it in folder.iterdir() if not it.is_dir()):
        if path.name == TOKENIZER_FILE:
            _check_tokens(read_object(path), path)
        elif path.suffix == ".json":
            read_json(path)
        elif path.suffix in VOCABULARY_SUFFIXES:
            _check_vocabulary(path)
        elif path.suffix == ".safetensors":
            read_header_text(path)
        elif path.exists() and not path.is_file():  # a broken link is harmless
            message = f"cannot read {path}: {NOT_REGULAR}"
            raise CheckpointError(message)


def _check_tokens(settings: Mapping[str, Any], path: Path) -> None:
    model = settings.get("model")
    tokens = model.get("vocab") if isinstance(model, dict) else None
    for name, values, limit in (
        ("tokens", tokens, MAX_VOCABULARY),
        ("added tokens", settings.get("added_tokens"), MAX_ADDED_TOKENS),
    ):
        if isinstance(values, dict | list) and len(values) > limit:
            message = f"{path} has {len(values)} {name}; at most {limit} are read"
            raise CheckpointError(message)


def _check_vocabulary(path: Path) -> None:
    if read_bytes(path, MAX_VOCABULARY_BYTES).count(b"\n") > MAX_VOCABULARY:
        message = f"{path} has more than {MAX_VOCABULARY} lines: it is not the file of a model"
        raise CheckpointError(message)
