"""Tokenizer: the model's own tokenizer.json, without the padding and truncation that may be written in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import normalizers
from tokenizers.normalizers import BertNormalizer

from millpond.loading.chat_template import ChatTemplate, read_chat_template, read_special_tokens
from millpond.types.checkpoint import value_of
from millpond.types.errors import CheckpointError, InvalidInputError

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

# Families whose tokenizers in transformers give the segment of each token unless tokenizer_config.json says otherwise.
WITH_SEGMENTS = ("bert", "convbert", "deberta", "electra", "ernie", "funnel", "layoutlm", "mobilebert", "roformer")

# Families whose text is brought into form as tokenizer_config.json says, whatever tokenizer.json does; and its keys.
BY_CONFIG = ("bert", "distilbert", "electra", "funnel", "layoutlm", "mobilebert", "mpnet", "splinter")
# The padding token of the tokenizer classes in transformers that have one where no file names it.
PAD_TOKENS = {
    "[PAD]": (
        "bert",
        "convbert",
        "deberta",
        "distilbert",
        "electra",
        "ernie",
        "funnel",
        "layoutlm",
        "mobilebert",
        "roformer",
        "squeezebert",
    ),
    "<pad>": ("albert", "camembert", "mpnet", "roberta", "t5", "xlm-roberta", "xlmroberta"),
    "<|endoftext|>": ("qwen",),
}
OF_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


class Tokenizer:
    """Text to token ids; safe to use from several threads.

    Attributes:
        backend: The tokenizer of the tokenizers library.
        num_special_tokens: How many special tokens a text gets.
        special_tokens: Its special tokens by their roles, such as ``{"pad_token": "[PAD]"}``.
        chat_template: The template that the checkpoint has for messages; None for none.
        gives_segments: Whether the two texts of a pair are told apart by the segments of their tokens.
        padding_side: The side that padding goes to, for models that read it: "right" or "left".
        truncation_side: The side that tokens are cut from where a call does not say: "right" or "left".
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        lower_case: bool = False,
        special_tokens: Mapping[str, str] | None = None,
        chat_template: ChatTemplate | None = None,
        gives_segments: bool = False,
        padding_side: str | None = None,
        truncation_side: str | None = None,
    ) -> None:
        padding, truncation = backend.padding, backend.truncation
        backend.no_padding()
        backend.no_truncation()
        if lower_case:  # what is written as a special token stays one: sentence-transformers does it so too
            own = [] if backend.normalizer is None else [backend.normalizer]
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        self.backend = backend
        self.num_special_tokens: int = backend.num_special_tokens_to_add(is_pair=False)
        self.special_tokens = {
            **({} if padding is None else {"pad_token": padding["pad_token"]}),
            **(special_tokens or {}),
        }
        self.chat_template = chat_template
        self.gives_segments = gives_segments
        self.padding_side = padding_side or ("right" if padding is None else str(padding["direction"]))
        self.truncation_side = truncation_side or ("right" if truncation is None else str(truncation["direction"]))

    @property
    def pad_token_id(self) -> int | None:
        """The id of the padding token; None if there is none."""
        token = self.special_tokens.get("pad_token")
        return None if token is None else self.backend.token_to_id(token)

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[tokenizers.Encoding]:
        """Tokenise many texts at once; releases the interpreter lock.

        Raises:
            InvalidInputError: If one of them is not Unicode text.
        """
        try:
            return self.backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        except TypeError as error:  # of the tokenizers library, which does not name the text
            wrong = [text for text in texts if not _is_unicode(text)]
            if not wrong:
                raise
            raise InvalidInputError(f"{wrong[0]!a:.80} is not Unicode text", parameter="prompts") from error

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tokenizers.Encoding]:
        """Tokenise many pairs of texts at once, with the special tokens between and around; see ``encode_batch``."""
        return self.backend.encode_batch_fast(list(pairs), add_special_tokens=True)

    def cut(self, text: str, num_tokens: int, *, side: str = "right") -> tuple[str, int]:
        """As much of a text as its first tokens are made of, or its last ones where ``side`` is "left".

        Special tokens are not counted.

        Returns:
            That part of the text, and how many tokens were cut off.
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
        """The ids of a text cut to at most ``limit`` tokens, the special tokens kept whole."""
        room = max(limit - (self.num_special_tokens if add_special_tokens else 0), 0)
        encoding = self.backend.encode(text, add_special_tokens=False)
        encoding.truncate(room, direction=side)
        return list(self.backend.post_process(encoding, None, add_special_tokens).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


def load_tokenizer(repository: "Repository", *, lower_case: bool = False) -> Tokenizer | None:
    """The tokenizer in a repository; None if it has none.

    Args:
        repository: The files of the model.
        lower_case: Whether texts are brought into lower case, whatever the files say.

    Raises:
        CheckpointError: If its file is damaged.
    """
    folder = repository.transformer_path
    path = folder / "tokenizer.json"
    if path.exists():
        backend = _normalised(_read(path), repository)
    elif any((folder / name).exists() for name in ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")):
        backend = _convert(folder)
    else:
        return None
    facts = repository.facts.text
    if value_of(facts.special_tokens) is False:
        backend.post_processor = None
    return Tokenizer(
        backend,
        lower_case=bool(value_of(facts.lower_case)) or lower_case,
        special_tokens={**_default_pad_token(repository), **read_special_tokens(repository)},
        chat_template=read_chat_template(repository),
        gives_segments=_gives_segments(repository),
        padding_side=_side(repository, "padding_side"),
        truncation_side=_side(repository, "truncation_side"),
    )


def _default_pad_token(repository: "Repository") -> dict[str, str]:
    """The padding token of the tokenizer's class in transformers, for files that name none."""
    family = _family(repository)
    return next(({"pad_token": token} for token, kinds in PAD_TOKENS.items() if family.startswith(kinds)), {})


def _side(repository: "Repository", key: str) -> str | None:
    """The side that the tokenizer's config names; None for that in tokenizer.json."""
    stated = repository.tokenizer_config.get(key)
    return stated if stated in ("left", "right") else None


def _gives_segments(repository: "Repository") -> bool:
    """Whether transformers would make ``token_type_ids``: as the tokenizer's config says, else by its class."""
    stated = repository.tokenizer_config.get("model_input_names")
    if isinstance(stated, list):
        return "token_type_ids" in stated
    return _family(repository).startswith(WITH_SEGMENTS)


def _family(repository: "Repository") -> str:
    """The class of the tokenizer in transformers, or else the kind of the model, in lower case."""
    name = repository.tokenizer_config.get("tokenizer_class") or repository.config.get("model_type")
    return name.lower() if isinstance(name, str) else ""


def _normalised(backend: tokenizers.Tokenizer, repository: "Repository") -> tokenizers.Tokenizer:
    """The tokenizer with what tokenizer_config.json says of lower case, accents and Chinese characters.

    Where both files speak of it, transformers takes that one, and models were trained so.
    """
    said, normalizer = repository.tokenizer_config, backend.normalizer
    if isinstance(normalizer, BertNormalizer) and _family(repository).startswith(BY_CONFIG):
        known = {name: getattr(normalizer, name) for name in ("clean_text", *OF_NORMALIZER.values())}
        stated = {name: said[key] for key, name in OF_NORMALIZER.items() if isinstance(said.get(key), bool)}
        backend.normalizer = BertNormalizer(**(known | stated))
    return backend


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


def _is_unicode(text: object) -> bool:
    """True for a text without lone surrogates, such as those of ``open(..., errors="surrogateescape")``."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
