"""Repository: a local folder of a model's files, read as data. Knows nothing of torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from millpond.loading.files import read_object
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.files import SentenceTransformersFiles, read_sentence_transformers
from millpond_formats.static import ARCHITECTURE, THEIRS, static_config


@dataclass(frozen=True)
class Repository:
    """A local folder of a model's files.

    Attributes:
        model: The name under which it was asked for.
        path: The folder.
        source: The source that found it.
        route: Of a model whose texts take several routes, the one that is meant; None for the main one.
    """

    model: str
    path: Path
    source: str
    route: str | None = None

    @cached_property
    def sentence_transformers(self) -> SentenceTransformersFiles:
        """What the files of sentence-transformers say."""
        return read_sentence_transformers(self.path, self.route)

    @cached_property
    def transformer_path(self) -> Path:
        """The folder with config.json and the weights: usually the repository itself."""
        files = self.sentence_transformers
        path = files.transformer_path
        return path if path is not None and (files.is_static or (path / "config.json").exists()) else self.path

    @cached_property
    def is_static(self) -> bool:
        """Whether it is a table of tokens, by modules.json or by what model2vec writes to config.json."""
        if self.sentence_transformers.is_static:
            return True
        names = read_object(self.transformer_path / "config.json").get("architectures")
        return isinstance(names, list) and bool({THEIRS, ARCHITECTURE}.intersection(map(str, names)))

    @cached_property
    def config(self) -> CheckpointConfig:
        """config.json; of a table of tokens, what it would say.

        Raises:
            CheckpointError: If there is none, or it is damaged.
        """
        path = self.transformer_path / "config.json"
        if self.is_static:
            return CheckpointConfig(static_config(self.transformer_path, read_object(path)))
        if not path.exists():
            there = ", ".join(sorted(item.name for item in self.path.iterdir())) or "nothing"
            message = f"{self.path} has no config.json, so it is not a model's folder; it holds: {there}"
            raise CheckpointError(message)
        try:
            return CheckpointConfig(read_object(path))
        except RecursionError as error:
            message = f"{path} is nested too deep to be a model's config"
            raise CheckpointError(message) from error

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """tokenizer_config.json; empty if there is none."""
        return read_object(self.transformer_path / "tokenizer_config.json")
