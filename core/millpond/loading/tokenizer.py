"""Tokenizer: the model's own tokenizer.json, without the padding and truncation that may be written in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers

from millpond.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.loading.repository import Repository


class Tokenizer:
    """Text to token ids; safe to use from several threads.

    Attributes:
        backend: The tokenizer of the tokenizers library.
        num_special_tokens: How many special tokens a text gets.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, lower_case: bool = False) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.lower_case = lower_case
        self.num_special_tokens: int = backend.num_special_tokens_to_add(is_pair=False)

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[tokenizers.Encoding]:
        """Tokenise many texts at once; releases the interpreter lock."""
        if self.lower_case:
            texts = [text.lower() for text in texts]
        return self.backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)

    def encode_truncated(
        self, text: str, limit: int, *, side: str = "right", add_special_tokens: bool = True
    ) -> list[int]:
        """The ids of a text cut to at most ``limit`` tokens, the special tokens kept whole."""
        if self.lower_case:
            text = text.lower()
        room = max(limit - (self.num_special_tokens if add_special_tokens else 0), 0)
        encoding = self.backend.encode(text, add_special_tokens=False)
        encoding.truncate(room, direction=side)
        return list(self.backend.post_process(encoding, None, add_special_tokens).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


def load_tokenizer(repository: "Repository") -> Tokenizer | None:
    """The tokenizer in a repository; None if it has none.

    Raises:
        CheckpointError: If its file is damaged.
    """
    folder = repository.transformer_path
    lower_case = repository.sentence_transformers.do_lower_case
    path = folder / "tokenizer.json"
    if path.exists():
        return Tokenizer(_read(path), lower_case=lower_case)
    if any((folder / name).exists() for name in ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")):
        return Tokenizer(_convert(folder), lower_case=lower_case)
    return None


def _read(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        message = f"{path} cannot be read ({error}): the file may be truncated, fetch the model again"
        raise CheckpointError(message) from error


def _convert(folder: Path) -> tokenizers.Tokenizer:
    """An older tokenizer, without tokenizer.json: transformers knows how to convert it."""
    from transformers import AutoTokenizer  # noqa: PLC0415  seconds to import, and needed by old checkpoints alone

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises what comes
        message = f"{folder} has no tokenizer.json, and transformers cannot make one of its other files: {error}"
        raise CheckpointError(message) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        message = f"{folder} has no tokenizer.json, and transformers cannot make one of {type(tokenizer).__name__}"
        raise CheckpointError(message)
    return backend
