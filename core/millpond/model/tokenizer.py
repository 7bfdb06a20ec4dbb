"""Tokenizer: converts texts to token ids, without the padding and truncation that its file states."""

from collections.abc import Mapping, Sequence

import tokenizers
from tokenizers import normalizers

from millpond.model.spec import ChatTemplate
from millpond.types.errors import InvalidInputError


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


def _is_unicode(text: object) -> bool:
    """True for a text without lone surrogates, such as those of ``open(..., errors="surrogateescape")``."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
