"""What surrounds a query of ColPali and its kind, as the processor of each in transformers writes it. Data alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.loading.chat_template import read_special_tokens
from millpond.loading.files import read_object
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import LateInteraction, QueryDocumentConfig

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

NUM_AUGMENTED = 10  # tokens behind a query, in whose places the model adds to it (arXiv 2407.01449, section 4.1)
PREFIX = "query_prefix"
FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a processor writes around a query.

    Attributes:
        prefix: What stands before it where no file says.
        augmented: The token behind it; None for the one that pads.
        end: What ends it.
        begins: Whether the token that begins a text is written, and the tokenizer adds no special tokens.
    """

    prefix: str
    augmented: str | None = None
    end: str = "\n"
    begins: bool = False


WRITTEN: Mapping[str, Written] = {
    "colpali": Written(prefix="Question: ", begins=True),
    "colqwen2": Written(prefix="Query: "),
    "colmodernvbert": Written(prefix="", augmented="<end_of_utterance>", end=""),
}


def read_sides(repository: "Repository", config: CheckpointConfig) -> LateInteraction:
    """How queries are read; documents, images or texts, are read as they are.

    Raises:
        CheckpointError: If a file says what is no text, or no file names a token that is written.
    """
    written = WRITTEN[str(config.get("model_type"))]
    tokens = read_special_tokens(repository)
    augmented = written.augmented or _token(tokens, "pad_token", repository)
    begin = _token(tokens, "bos_token", repository) if written.begins else ""
    query = QueryDocumentConfig(
        prompt=begin + _prefix(repository, written),
        ending=augmented * NUM_AUGMENTED + written.end,
        special_tokens=not written.begins,
    )
    return LateInteraction(query=query)


def _prefix(repository: "Repository", written: Written) -> str:
    """What processor_config.json says, or files of older layouts; else what the processor has by itself."""
    paths = [repository.transformer_path / name for name in FILES]
    path, said = next(
        ((path, said) for path in paths if (said := read_object(path)).get(PREFIX) is not None), (None, {})
    )
    prefix = said.get(PREFIX, written.prefix)
    if isinstance(prefix, str):
        return prefix
    raise CheckpointError(f"{path}: {PREFIX} must be text; got {prefix!r}")


def _token(tokens: Mapping[str, str], role: str, repository: "Repository") -> str:
    found = tokens.get(role)
    if found is None:
        message = (
            f"{repository.transformer_path}: a query is written with the tokenizer's {role}, which "
            "tokenizer_config.json does not name"
        )
        raise CheckpointError(message)
    return found
