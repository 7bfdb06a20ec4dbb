"""Truncation of texts by tokens, at a cost that does not depend on the length of the removed part."""

from millpond.loading.tokenizer import Tokenizer
from millpond_io.text.lengths import max_characters
from millpond_io.text.prompt_tokenizer import EXCERPT_TOKENS_FACTOR


def excerpt(tokenizer: Tokenizer, text: str, num_tokens: int, side: str = "right") -> str:
    """Return a part of a text that contains its first N tokens, or its last N if the truncation side is "left"."""
    num_chars = max_characters(num_tokens)
    while num_chars < len(text):
        part = text[-num_chars:] if side == "left" else text[:num_chars]
        (encoding,) = tokenizer.encode_batch([part], add_special_tokens=False)
        if len(encoding) >= EXCERPT_TOKENS_FACTOR * num_tokens:
            return part
        num_chars *= 4
    return text


def head(tokenizer: Tokenizer, text: str, num_tokens: int) -> tuple[str, int]:
    """Return the part of a text that its first N tokens cover, and the minimum number of tokens of the rest."""
    return tokenizer.cut(excerpt(tokenizer, text, num_tokens), num_tokens)
