"""The texts that benchmarks embed, cut from Python's own language reference by a fixed seed: prose, not code."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pydoc_data import topics

import numpy as np
from tokenizers import Tokenizer

SHORTEST, LONGEST = 5, 256  # tokens, special tokens included
SPECIAL = 2  # [CLS] and [SEP]
MEDIAN, SPREAD = 45.0, 0.75  # of the log-normal distribution of lengths: its mean is about 60
SHORT = 8, 12  # tokens of a short text, special tokens included: 10 in the mean
ASKED = 6, 32  # tokens of a text of a request, special tokens included
TEXTS_OF_REQUEST = 1, 4
FEWEST_CHARACTERS = 40  # of a paragraph
PROSE = 0.9  # the share of letters and spaces from which a paragraph is prose, not code or a table


@dataclass(frozen=True)
class Workload:
    """Texts with the number of tokens of each.

    Attributes:
        name: The name of the workload.
        texts: The texts, in no order.
        lengths: Their tokens, special tokens included.
    """

    name: str
    texts: tuple[str, ...]
    lengths: tuple[int, ...]

    def flops(self, *, hidden: int, inner: int, layers: int) -> float:
        """Floating-point operations of an encoder's forward pass over the real tokens: no padding counts."""
        linear = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
        return float(sum(n * linear + 4 * layers * hidden * n * n for n in self.lengths))

    @property
    def fingerprint(self) -> str:
        """What tells these texts from others: two Pythons may bring two language references."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()[:16]

    def padding(self, batch_size: int = 32) -> float:
        """Padded over real tokens in batches of texts sorted by characters, as sentence-transformers makes them."""
        order = sorted(range(len(self.texts)), key=lambda place: -len(self.texts[place]))
        lengths = [self.lengths[place] for place in order]
        batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
        return sum(max(batch) * len(batch) for batch in batches) / sum(lengths)


def prose(tokenizer: Tokenizer, count: int, *, seed: int = 20261121) -> Workload:
    """W1p: prose of mixed length, log-normal, 5 to 256 tokens, about 60 in the mean."""
    rng = np.random.default_rng(seed)
    return _cut("W1p", tokenizer, _mixed_lengths(rng, count), rng)


def documentation(tokenizer: Tokenizer, count: int, *, seed: int = 20261121) -> Workload:
    """W1: the same lengths from all of the reference, with code and tables: characters say little of tokens there."""
    rng = np.random.default_rng(seed)
    return _cut("W1", tokenizer, _mixed_lengths(rng, count), rng, least_share=0.0)


def full_length(tokenizer: Tokenizer, count: int, *, seed: int = 20261122) -> Workload:
    """W2: prose of 256 tokens each, so that nobody pads."""
    return _cut("W2", tokenizer, [LONGEST] * count, np.random.default_rng(seed))


def short(tokenizer: Tokenizer, count: int, *, seed: int = 20261123) -> Workload:
    """W3: prose of about 10 tokens each, to be embedded one at a time."""
    rng = np.random.default_rng(seed)
    lengths: list[int] = rng.integers(*SHORT, size=count, endpoint=True).tolist()
    return _cut("W3", tokenizer, lengths, rng)


def requests(tokenizer: Tokenizer, count: int, *, seed: int = 20261124) -> tuple[Workload, list[list[str]]]:
    """W4: prose of 6 to 32 tokens, one to four texts a request of a server; all texts, and by request."""
    rng = np.random.default_rng(seed)
    sizes: list[int] = rng.integers(*TEXTS_OF_REQUEST, size=count, endpoint=True).tolist()
    lengths: list[int] = rng.integers(*ASKED, size=sum(sizes), endpoint=True).tolist()
    workload = _cut("W4", tokenizer, lengths, rng)
    texts = iter(workload.texts)
    return workload, [[next(texts) for _ in range(size)] for size in sizes]


def _mixed_lengths(rng: np.random.Generator, count: int) -> list[int]:
    lengths: list[int] = np.clip(rng.lognormal(np.log(MEDIAN), SPREAD, count), SHORTEST, LONGEST).astype(int).tolist()
    return lengths


def _cut(
    name: str, tokenizer: Tokenizer, lengths: Sequence[int], rng: np.random.Generator, *, least_share: float = PROSE
) -> Workload:
    text = " ".join(_paragraphs(least_share))
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    words = [place for place in range(1, len(offsets)) if offsets[place][0] > offsets[place - 1][1]]
    texts: list[str] = []
    for length in lengths:
        start = words[rng.integers(len(words) - LONGEST)]
        texts.append(text[offsets[start][0] : offsets[start + length - SPECIAL - 1][1]])
    real = tuple(min(len(encoding.ids), LONGEST) for encoding in tokenizer.encode_batch(texts))
    return Workload(name, tuple(texts), real)


def _paragraphs(least_share: float) -> list[str]:
    paragraphs = (" ".join(part.split()) for topic in topics.topics.values() for part in re.split(r"\n\s*\n", topic))
    return [part for part in paragraphs if len(part) > FEWEST_CHARACTERS and _share_of_letters(part) > least_share]


def _share_of_letters(text: str) -> float:
    return sum(character.isalpha() or character == " " for character in text) / len(text)
