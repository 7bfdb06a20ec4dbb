"""Query formats of ColPali and similar models, as written by their processors in transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.model.files import read_object
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import LateInteraction, QueryDocumentConfig

if TYPE_CHECKING:
    from millpond.model.model_layers import ModelLayers
    from millpond.model.repository import Repository

NUM_AUGMENTATION_TOKENS = 10  # appended to a query as soft query expansion (arXiv 2407.01449, section 4.1)
PREFIX_KEY = "query_prefix"
FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True, kw_only=True)
class QueryFormat:
    """Text that a processor adds to a query.

    Attributes:
        prefix: Default prefix.
        augmentation: Token that is appended; None for the padding token.
        suffix: Text after the appended tokens.
        writes_bos: True if the BOS token is written, and the tokenizer does not add special tokens.
    """

    prefix: str
    augmentation: str | None = None
    suffix: str = "\n"
    writes_bos: bool = False


QUERY_FORMATS: Mapping[str, QueryFormat] = {
    "colpali": QueryFormat(prefix="Question: ", writes_bos=True),
    "colqwen2": QueryFormat(prefix="Query: "),
    "colmodernvbert": QueryFormat(prefix="", augmentation="<end_of_utterance>", suffix=""),
}


def read_query_format(layers: "ModelLayers") -> LateInteraction:
    """Return the settings for queries; documents are images or texts without a prompt.

    Raises:
        CheckpointError: If the prefix is not text, or the tokenizer's files do not name a required token.
    """
    repository, tokens = layers.repository, layers.get("text.token_roles", {})
    query_format = QUERY_FORMATS[str(layers.config.get("model_type"))]
    augmentation = query_format.augmentation or _token(tokens, "pad_token", repository)
    bos = _token(tokens, "bos_token", repository) if query_format.writes_bos else ""
    query = QueryDocumentConfig(
        prompt=bos + _prefix(repository, query_format),
        ending=augmentation * NUM_AUGMENTATION_TOKENS + query_format.suffix,
        special_tokens=not query_format.writes_bos,
    )
    return LateInteraction(query=query)


def _prefix(repository: "Repository", query_format: QueryFormat) -> str:
    """Return the prefix in processor_config.json or files of older layouts, by default that of the processor."""
    paths = [repository.transformer_path / name for name in FILES]
    path, settings = next(
        ((path, settings) for path in paths if (settings := read_object(path)).get(PREFIX_KEY) is not None), (None, {})
    )
    prefix = settings.get(PREFIX_KEY, query_format.prefix)
    if isinstance(prefix, str):
        return prefix
    raise CheckpointError(f"{path}: {PREFIX_KEY} must be text; got {prefix!r}")


def _token(tokens: Mapping[str, str], role: str, repository: "Repository") -> str:
    token = tokens.get(role)
    if token is None:
        message = (
            f"{repository.transformer_path}: queries require the {role} of the tokenizer, which is missing from "
            "tokenizer_config.json"
        )
        raise CheckpointError(message)
    return token
