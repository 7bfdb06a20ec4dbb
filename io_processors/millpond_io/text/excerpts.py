"""Truncation of texts by tokens, at a cost that does not depend on the length of the removed part."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from millpond.model.tokenizer import Tokenizer
from millpond_io.text.boundaries import Boundaries
from millpond_io.text.lengths import max_characters

# An excerpt that ends anywhere, but has this many times the limit's tokens, starts with the same tokens as the whole
# text: they do not depend on the position of the cut.
EXCERPT_TOKENS_FACTOR = 2
EXCERPT_CHARS_PER_TOKEN = 8  # the first attempt; almost all texts have fewer
MIN_EXCERPT_CHARS = 4096
GROWTH = 4

_boundaries: WeakKeyDictionary[Tokenizer, Boundaries] = WeakKeyDictionary()


@dataclass(frozen=True)
class Excerpt:
    """The part of a text to tokenize.

    Attributes:
        text: The part.
        min_tokens: The number of tokens from which it contains all tokens to keep; 0 for a whole text.
    """

    text: str
    min_tokens: int = 0


def cut_excerpt(tokenizer: Tokenizer, text: str, limit: int, side: str = "right", min_chars: int = 0) -> Excerpt:
    """Cut a text before it is tokenized, at a boundary of the tokenizer if possible.

    Args:
        tokenizer: The tokenizer.
        text: The text.
        limit: The maximum number of tokens to keep.
        side: The side from which tokens are removed: "right" or "left".
        min_chars: The minimum size of the excerpt, for a text whose shorter excerpt has too few tokens.
    """
    num_chars = max(EXCERPT_CHARS_PER_TOKEN * limit, MIN_EXCERPT_CHARS, min_chars)
    if num_chars >= len(text):
        return Excerpt(text)
    if tokenizer not in _boundaries:
        _boundaries[tokenizer] = Boundaries(tokenizer.backend)
    boundary = _boundaries[tokenizer].find(text, num_chars, side)
    if boundary is not None:
        # More tokens than the limit show that tokens are removed. Removed tokens on the left are also subtracted from
        # those of a prompt, so their number must not be much too small.
        return (
            Excerpt(text[boundary:], EXCERPT_TOKENS_FACTOR * limit)
            if side == "left"
            else Excerpt(text[:boundary], limit + 1)
        )
    num_chars = max(max_characters(limit), min_chars)
    if num_chars >= len(text):
        return Excerpt(text)
    return Excerpt(text[-num_chars:] if side == "left" else text[:num_chars], EXCERPT_TOKENS_FACTOR * limit)


def excerpt(tokenizer: Tokenizer, text: str, num_tokens: int, side: str = "right") -> str:
    """Return a part of a text that contains its first N tokens, or its last N if the truncation side is "left"."""
    part = cut_excerpt(tokenizer, text, num_tokens, side)
    while part.min_tokens:
        (encoding,) = tokenizer.encode_batch([part.text], add_special_tokens=False)
        if len(encoding) >= EXCERPT_TOKENS_FACTOR * num_tokens:
            break
        part = cut_excerpt(tokenizer, text, num_tokens, side, min_chars=GROWTH * len(part.text))
    return part.text


def head(tokenizer: Tokenizer, text: str, num_tokens: int) -> tuple[str, int]:
    """Return the part of a text that its first N tokens cover, and the minimum number of tokens of the rest."""
    return tokenizer.cut(excerpt(tokenizer, text, num_tokens), num_tokens)
