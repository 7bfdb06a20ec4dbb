"""The texts to embed: excerpts from Python's language reference, selected with a fixed seed."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pydoc_data import topics

import numpy as np
from tokenizers import Tokenizer

MIN_TOKENS, MAX_TOKENS = 5, 256  # special tokens included
SPECIAL_TOKENS = 2  # [CLS] and [SEP]
MEDIAN_TOKENS, LOG_DEVIATION = 45.0, 0.75  # of the log-normal distribution of lengths: its mean is about 60
SHORT_TOKENS = 8, 12  # of a short text, special tokens included: 10 on average
REQUEST_TOKENS = 6, 32  # of a text of a request, special tokens included
TEXTS_PER_REQUEST = 1, 4
MIN_PARAGRAPH_CHARS = 40
MIN_PROSE_SHARE = 0.9  # of letters and spaces; paragraphs with a smaller share are code or tables


# The names of workloads on the page of results, in words.
DESCRIPTIONS = {
    "W1": "texts, code and tables of 5 to 256 tokens",
    "W1p": "texts of 5 to 256 tokens",
    "W2": "texts of 256 tokens",
    "W3": "single texts of 8 to 12 tokens",
    "W4": "requests of one to four texts of 6 to 32 tokens",
}


def described(workload: str) -> str:
    """Return the name of a workload with its description, such as "W2 (texts of 256 tokens)"."""
    return f"{workload} ({DESCRIPTIONS[workload]})" if workload in DESCRIPTIONS else workload


@dataclass(frozen=True)
class Workload:
    """Texts with the number of tokens of each.

    Attributes:
        name: The name of the workload.
        texts: The texts, in random order.
        lengths: The number of tokens of each, special tokens included.
    """

    name: str
    texts: tuple[str, ...]
    lengths: tuple[int, ...]

    def flops(self, *, hidden: int, inner: int, layers: int) -> float:
        """Return the floating-point operations of an encoder's forward pass, without padding."""
        linear = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
        return float(sum(n * linear + 4 * layers * hidden * n * n for n in self.lengths))

    @property
    def fingerprint(self) -> str:
        """A hash of the texts: versions of Python may have different language references."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()[:16]

    def padding(self, batch_size: int = 32) -> float:
        """Return padded over real tokens for batches sorted by number of characters, like sentence-transformers."""
        order = sorted(range(len(self.texts)), key=lambda index: -len(self.texts[index]))
        lengths = [self.lengths[index] for index in order]
        batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
        return sum(max(batch) * len(batch) for batch in batches) / sum(lengths)


def prose(tokenizer: Tokenizer, count: int, *, seed: int = 20261121) -> Workload:
    """Return W1p: prose of mixed length, log-normal, 5 to 256 tokens, about 60 on average."""
    rng = np.random.default_rng(seed)
    return _select("W1p", tokenizer, _mixed_lengths(rng, count), rng)


def documentation(tokenizer: Tokenizer, count: int, *, seed: int = 20261121) -> Workload:
    """Return W1: the lengths of W1p from the whole reference, with code and tables.

    The number of characters of such texts is a poor estimate of their number of tokens.
    """
    rng = np.random.default_rng(seed)
    return _select("W1", tokenizer, _mixed_lengths(rng, count), rng, min_prose_share=0.0)


def full_length(tokenizer: Tokenizer, count: int, *, seed: int = 20261122) -> Workload:
    """Return W2: prose of 256 tokens per text, so that no contestant pads."""
    return _select("W2", tokenizer, [MAX_TOKENS] * count, np.random.default_rng(seed))


def of_length(tokenizer: Tokenizer, count: int, tokens: int, *, seed: int = 20261125) -> Workload:
    """Return prose of a number of tokens per text, without special tokens."""
    return _select(f"{tokens} tokens", tokenizer, [tokens + SPECIAL_TOKENS] * count, np.random.default_rng(seed))


def short(tokenizer: Tokenizer, count: int, *, seed: int = 20261123) -> Workload:
    """Return W3: prose of about 10 tokens per text, to be embedded one at a time."""
    rng = np.random.default_rng(seed)
    lengths: list[int] = rng.integers(*SHORT_TOKENS, size=count, endpoint=True).tolist()
    return _select("W3", tokenizer, lengths, rng)


def requests(tokenizer: Tokenizer, count: int, *, seed: int = 20261124) -> tuple[Workload, list[list[str]]]:
    """Return W4, prose of 6 to 32 tokens, and its texts grouped into requests of one to four texts."""
    rng = np.random.default_rng(seed)
    sizes: list[int] = rng.integers(*TEXTS_PER_REQUEST, size=count, endpoint=True).tolist()
    lengths: list[int] = rng.integers(*REQUEST_TOKENS, size=sum(sizes), endpoint=True).tolist()
    workload = _select("W4", tokenizer, lengths, rng)
    texts = iter(workload.texts)
    return workload, [[next(texts) for _ in range(size)] for size in sizes]


def _mixed_lengths(rng: np.random.Generator, count: int) -> list[int]:
    lengths = np.clip(rng.lognormal(np.log(MEDIAN_TOKENS), LOG_DEVIATION, count), MIN_TOKENS, MAX_TOKENS)
    whole: list[int] = lengths.astype(int).tolist()
    return whole


def _select(
    name: str,
    tokenizer: Tokenizer,
    lengths: Sequence[int],
    rng: np.random.Generator,
    *,
    min_prose_share: float = MIN_PROSE_SHARE,
) -> Workload:
    text = " ".join(_paragraphs(min_prose_share))
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    word_starts = [token for token in range(1, len(offsets)) if offsets[token][0] > offsets[token - 1][1]]
    texts: list[str] = []
    for length in lengths:
        start = word_starts[rng.integers(len(word_starts) - MAX_TOKENS)]
        texts.append(text[offsets[start][0] : offsets[start + length - SPECIAL_TOKENS - 1][1]])
    actual_lengths = tuple(min(len(encoding.ids), MAX_TOKENS) for encoding in tokenizer.encode_batch(texts))
    return Workload(name, tuple(texts), actual_lengths)


def _paragraphs(min_prose_share: float) -> list[str]:
    paragraphs = (" ".join(part.split()) for topic in topics.topics.values() for part in re.split(r"\n\s*\n", topic))
    return [
        part for part in paragraphs if len(part) > MIN_PARAGRAPH_CHARS and _share_of_letters(part) > min_prose_share
    ]


def _share_of_letters(text: str) -> float:
    return sum(character.isalpha() or character == " " for character in text) / len(text)
