"""The beginnings and ends of texts by tokens, at a cost that does not grow with what is left out."""

from millpond.loading.tokenizer import Tokenizer
from millpond_io.text.lengths import most_characters
from millpond_io.text.render import PLENTY


def excerpt(tokenizer: Tokenizer, text: str, num_tokens: int, side: str = "right") -> str:
    """As much of a text as its first tokens can need, or its last ones if ``side``, where it is cut, is "left"."""
    most = most_characters(num_tokens)
    while most < len(text):
        part = text[-most:] if side == "left" else text[:most]
        (encoding,) = tokenizer.encode_batch([part], add_special_tokens=False)
        if len(encoding) >= PLENTY * num_tokens:
            return part
        most *= 4
    return text


def head(tokenizer: Tokenizer, text: str, num_tokens: int) -> tuple[str, int]:
    """As much of a text as its first tokens are made of, and how many others it has at least."""
    return tokenizer.cut(excerpt(tokenizer, text, num_tokens), num_tokens)
