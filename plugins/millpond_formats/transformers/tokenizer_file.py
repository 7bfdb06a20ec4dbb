"""Loads the tokenizer of a folder: tokenizer.json, or the older files that transformers converts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers.normalizers import BertNormalizer

from millpond.model.files import MAX_TOKENIZER_BYTES, read_bytes
from millpond.model.spec import TextSettings
from millpond.model.tokenizer import Tokenizer
from millpond.types.errors import CheckpointError, MillpondError
from millpond_checkpoints.foreign_reading import check_foreign_reading
from millpond_formats.transformers.chat_template import read_chat_template

if TYPE_CHECKING:
    from millpond.model.repository import Repository

PROBE = "a"
OLDER_FILES = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
NORMALIZER_OPTIONS = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")  # of BertNormalizer


def load_tokenizer(repository: "Repository", text: TextSettings, *, lower_case: bool) -> Tokenizer | None:
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
    elif any((folder / name).exists() for name in OLDER_FILES):
        backend = _convert(folder)
    else:
        return None
    if not text.special_tokens:
        backend.post_processor = None
    return Tokenizer(
        backend,
        lower_case=text.lower_case or lower_case,
        special_tokens=text.token_roles,
        chat_template=read_chat_template(repository),
        pair_template=read_chat_template(repository, of_pairs=True),
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
    from transformers import AutoTokenizer  # noqa: PLC0415  takes seconds to import; only old checkpoints need it

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
