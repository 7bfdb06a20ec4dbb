"""Tokenizer: the model's tokenizer.json, without its padding and truncation settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import normalizers
from tokenizers.normalizers import BertNormalizer

from millpond.model.files import MAX_TOKENIZER_BYTES, check_foreign_reading, read_bytes
from millpond.model.spec import ChatTemplate, TextSettings
from millpond.types.errors import CheckpointError, InvalidInputError, MillpondError

if TYPE_CHECKING:
    from millpond.model.repository import Repository

PROBE = "a"
NORMALIZER_OPTIONS = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")  # of BertNormalizer


class Tokenizer:
    """Converts texts to token ids; thread-safe.

    Attributes:
        backend: The tokenizer of the tokenizers library.
        num_special_tokens: The number of special tokens that are added to a text.
        special_tokens: The special tokens by role, such as ``{"pad_token": "[PAD]"}``.
        chat_template: The checkpoint's chat template; None if it has none.
        pair_template: The checkpoint's template of a query with a document, which may be its chat template.
        returns_token_type_ids: True if the two texts of a pair are distinguished by ``token_type_ids``.
        padding_side: The side of padding tokens, for models that read them: "right" or "left".
        truncation_side: The default side from which tokens are removed: "right" or "left".
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        lower_case: bool = False,
        special_tokens: Mapping[str, str] | None = None,
        chat_template: ChatTemplate | None = None,
        pair_template: ChatTemplate | None = None,
        returns_token_type_ids: bool = False,
        padding_side: str | None = None,
        truncation_side: str | None = None,
    ) -> None:
        padding, truncation = backend.padding, backend.truncation
        backend.no_padding()
        backend.no_truncation()
        if lower_case:  # special tokens are matched before normalization, like in sentence-transformers
            existing = [] if backend.normalizer is None else [backend.normalizer]
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *existing])
        self.backend = backend
        self.num_special_tokens: int = backend.num_special_tokens_to_add(is_pair=False)
        self.special_tokens = {
            **({} if padding is None else {"pad_token": padding["pad_token"]}),
            **(special_tokens or {}),
        }
        self.chat_template = chat_template
        self.pair_template = pair_template
        self.returns_token_type_ids = returns_token_type_ids
        self.padding_side = padding_side or ("right" if padding is None else str(padding["direction"]))
        self.truncation_side = truncation_side or ("right" if truncation is None else str(truncation["direction"]))

    @property
    def pad_token_id(self) -> int | None:
        """The id of the padding token; None if the tokenizer has no padding token."""
        token = self.special_tokens.get("pad_token")
        return None if token is None else self.backend.token_to_id(token)

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[tokenizers.Encoding]:
        """Tokenize many texts at once; releases the GIL.

        Raises:
            InvalidInputError: If a text is not valid Unicode.
        """
        try:
            return self.backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        except TypeError as error:  # raised by the tokenizers library, which does not name the text
            invalid = [text for text in texts if not _is_unicode(text)]
            if not invalid:
                raise
            raise InvalidInputError(f"{invalid[0]!a:.80} is not valid Unicode text", parameter="prompts") from error

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tokenizers.Encoding]:
        """Tokenize many pairs of texts at once, with special tokens; see ``encode_batch``."""
        return self.backend.encode_batch_fast(list(pairs), add_special_tokens=True)

    def cut(self, text: str, num_tokens: int, *, side: str = "right") -> tuple[str, int]:
        """Cut a text to its first ``num_tokens`` tokens, or to its last ones if ``side`` is "left".

        Special tokens are not counted.

        Returns:
            The remaining text, and the number of removed tokens.
        """
        offsets = self.backend.encode(text, add_special_tokens=False).offsets
        dropped = len(offsets) - num_tokens
        if dropped <= 0:
            return text, 0
        if not num_tokens:
            return "", dropped
        part = text[offsets[-num_tokens][0] :] if side == "left" else text[: offsets[num_tokens - 1][1]]
        return part, dropped

    def encode_truncated(
        self, text: str, limit: int, *, side: str = "right", add_special_tokens: bool = True
    ) -> list[int]:
        """Return the ids of a text cut to at most ``limit`` tokens, including all special tokens."""
        available = max(limit - (self.num_special_tokens if add_special_tokens else 0), 0)
        encoding = self.backend.encode(text, add_special_tokens=False)
        encoding.truncate(available, direction=side)
        return list(self.backend.post_process(encoding, None, add_special_tokens).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


def load_tokenizer(repository: "Repository", text: TextSettings, *, lower_case: bool = False) -> Tokenizer | None:
    """Load the tokenizer of a repository; None if it has none.

    Args:
        repository: The files of the model.
        text: The preparation of texts.
        lower_case: True to convert texts to lower case, independent of the files.

    Raises:
        CheckpointError: If the tokenizer file is damaged.
    """
    folder = repository.transformer_path
    path = folder / "tokenizer.json"
    if path.exists():
        backend = _normalized(_read(path), text.normalizer)
    elif any((folder / name).exists() for name in ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")):
        backend = _convert(folder)
    else:
        return None
    if not text.special_tokens:
        backend.post_processor = None
    return Tokenizer(
        backend,
        lower_case=text.lower_case or lower_case,
        special_tokens=text.token_roles,
        chat_template=repository.reader.chat_template(),
        pair_template=repository.reader.chat_template(of_pairs=True),
        returns_token_type_ids=text.token_type_ids,
        padding_side=text.padding_side,
        truncation_side=text.truncation_side,
    )


def _normalized(backend: tokenizers.Tokenizer, options: Mapping[str, bool]) -> tokenizers.Tokenizer:
    """Set options of a BertNormalizer that take precedence over tokenizer.json, since models were trained this way."""
    normalizer = backend.normalizer
    if isinstance(normalizer, BertNormalizer):
        current = {name: getattr(normalizer, name) for name in NORMALIZER_OPTIONS}
        backend.normalizer = BertNormalizer(**{**current, **options})
    return backend


def _read(path: Path) -> tokenizers.Tokenizer:
    with _errors_of_library(path):
        backend = tokenizers.Tokenizer.from_buffer(read_bytes(path, MAX_TOKENIZER_BYTES))
        backend.encode(PROBE)  # a post-processor without its tokens is an error only here
        backend.encode(PROBE, PROBE)
    return backend


@contextmanager
def _errors_of_library(path: Path) -> Iterator[None]:
    """Raise CheckpointError for any error of the tokenizers library, and for its panics, which are BaseExceptions."""
    try:
        yield
    except (MillpondError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        message = f"{path} cannot be read ({error}): the file may be truncated, download the model again"
        raise CheckpointError(message) from error


def _convert(folder: Path) -> tokenizers.Tokenizer:
    """Convert an older tokenizer without tokenizer.json, with transformers."""
    check_foreign_reading(folder, recursive=False)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the library raises any exception type, also panics
        message = f"{folder} has no tokenizer.json, and transformers cannot convert its other files: {error}"
        raise CheckpointError(message) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        message = f"{folder} has no tokenizer.json, and transformers cannot convert its {type(tokenizer).__name__}"
        raise CheckpointError(message)
    return backend


def _is_unicode(text: object) -> bool:
    """True for a text without lone surrogates, such as those of ``open(..., errors="surrogateescape")``."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
