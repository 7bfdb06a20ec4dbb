"""Boundaries: the positions where a text can be cut without changing the tokens of the part that is kept."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

# Letters and digits that no normalizer removes, turns into a space, or joins with a space.
IDEOGRAPHS = "一-\u9fa5"
WORD = rf"0-9A-Za-zÀ-ÖØ-öø-ÿΑ-ΡΣ-Ωα-ωА-яא-תء-غف-يअ-हก-ฮぁ-ゖァ-ヺ가-힣{IDEOGRAPHS}"
SPACE = "▁"  # a space in the vocabularies of SentencePiece
BETWEEN_WORDS = re.compile(rf"(?<=[{WORD}])(?= [{WORD}])")
BETWEEN_IDEOGRAPHS = re.compile(rf"(?<=[{IDEOGRAPHS}])(?=[{IDEOGRAPHS}])")
BEFORE_STOP = re.compile(rf"(?<=[{IDEOGRAPHS}ぁ-ゖァ-ヺ])(?=[。、])")
JOINED_SPACE = re.compile(rf"[^{SPACE}]{SPACE}")
# The patterns of GPT-2, CLIP, GPT-4 (and Llama 3) and Qwen: a space never follows a word in its token.
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORD_PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    rf"{ENDINGS}\p{{N}}{{1,3}}{REST}",
    rf"{ENDINGS}\p{{N}}{REST}",
)
NEAR_CHARS = 512  # the cut is searched here first
LOCAL_NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer", "Nmt", "Precompiled")
SPACE_PATTERNS = (" {2,}", r"\s+")
SPLITS_AT_SPACES = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
SPLITS_AT_STOPS = ("BertPreTokenizer", "Whitespace", "ByteLevel", "Split")


class Boundaries:
    """The boundaries of a tokenizer's texts.

    A cut is safe if the tokenizer treats both sides independently: no normalizer, no added token and no token of the
    vocabulary spans it, and the first or last characters of a text are not special. The components that are known to
    fulfil this are listed here; a tokenizer with another component has no boundaries.

    Args:
        backend: The tokenizer.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self.backend = backend
        self.normalizers = _flat(backend.normalizer, "normalizers")
        self.pre_tokenizers = _flat(backend.pre_tokenizer, "pretokenizers")
        self.splitter = next((it for it in self.pre_tokenizers if it["type"] not in ("Digits", "Punctuation")), None)

    def find(self, text: str, num_chars: int, side: str) -> int | None:
        """Return the index of a boundary; None without one.

        Args:
            text: The text, with more than ``num_chars`` characters.
            num_chars: The maximum number of characters to keep. At least half of them are kept.
            side: The side that is removed: "right" or "left".
        """
        for size in (min(NEAR_CHARS, num_chars // 2), num_chars // 2):
            start = max(num_chars - size, 0) if side == "right" else len(text) - num_chars
            boundary = self._between(text, start, start + size, side)
            if boundary is not None:
                return boundary
        return None

    def _between(self, text: str, start: int, stop: int, side: str) -> int | None:
        before = max(start - 1, 0)
        window = text[before : stop + 2]  # with the characters around each boundary
        for rule in self.left_rules if side == "left" else self.rules:
            positions = [before + match.start() for match in rule.finditer(window)]
            for index in positions if side == "left" else reversed(positions):
                if start <= index <= stop and (rule is not BETWEEN_IDEOGRAPHS or self._separates(text, index, side)):
                    return index
        return None

    def _separates(self, text: str, index: int, side: str) -> bool:
        """Return True if no token contains the ideographs around an index."""
        if self.separates_ideographs:
            return True
        pair = text[index - 1 : index + 1]
        if side == "left" or pair[0] not in self.characters or pair in self.pairs:
            return False
        return self.backend.normalizer is None or pair in self.backend.normalizer.normalize_str(pair)

    @cached_property
    def rules(self) -> tuple[re.Pattern[str], ...]:
        """The patterns of boundaries; empty for a tokenizer with unknown components."""
        model, kinds = self.backend.model, [it["type"] for it in self.normalizers]
        if not all(_is_local(it) for it in self.normalizers) or getattr(model, "dropout", None):
            return ()
        if not (self._splits() or self._has_separate_spaces()):
            return ()
        added = [*self.backend.get_added_tokens_decoder().values()]
        if any(re.search(rf"\w[\s{SPACE}]", token.content) for token in added):
            return ()
        rules = [BETWEEN_WORDS]
        splitter = self.splitter and self.splitter["type"]
        is_inner = any(re.search(rf"[{IDEOGRAPHS}ぁ-ゖァ-ヺ].", token.content) for token in added)
        if not is_inner and not any(token.single_word for token in added):
            if splitter in SPLITS_AT_STOPS and self._splits() and not {"Replace", "Precompiled"}.intersection(kinds):
                rules.append(BEFORE_STOP)
            is_unigram = isinstance(model, models.Unigram)
            if self.separates_ideographs or (
                is_unigram and all(it["type"] != "ByteLevel" for it in self.pre_tokenizers)
            ):
                rules.append(BETWEEN_IDEOGRAPHS)
        return tuple(rules)

    @cached_property
    def left_rules(self) -> tuple[re.Pattern[str], ...]:
        """The patterns of boundaries where the text before can be removed, if the start of a text is not special."""
        if any(it["type"] == "Prepend" or (it["type"] == "Strip" and it["strip_left"]) for it in self.normalizers):
            return ()
        if any(token.rstrip for token in self.backend.get_added_tokens_decoder().values()):
            return ()
        if not self._splits() and isinstance(self.backend.model, models.Unigram):  # its sums are rounded differently
            return ()
        adds_space = any(it.get("add_prefix_space") or it["type"] == "Metaspace" for it in self.pre_tokenizers)
        return tuple(rule for rule in self.rules if rule is BETWEEN_WORDS or not adds_space)

    @cached_property
    def separates_ideographs(self) -> bool:
        """True if the tokenizer treats each ideograph as a word."""
        return (
            any(it["type"] == "BertNormalizer" and it["handle_chinese_chars"] for it in self.normalizers)
            and self.splitter is not None
            and self.splitter["type"] in SPLITS_AT_SPACES
        )

    @cached_property
    def characters(self) -> frozenset[str]:
        """The tokens that are one character."""
        return frozenset(token for token in self.backend.get_vocab() if len(token) == 1)

    @cached_property
    def pairs(self) -> frozenset[str]:
        """The pairs of ideographs within the tokens."""
        text = "\n".join(self.backend.get_vocab())
        return frozenset(text[it.start() - 1 : it.start() + 1] for it in BETWEEN_IDEOGRAPHS.finditer(text))

    def _splits(self) -> bool:
        """Return True if the pre-tokenizer separates words, so that tokens do not depend on other words."""
        splitter = self.splitter
        if splitter is None or any(it["type"] == "Replace" and _repositions_spaces(it) for it in self.normalizers):
            return False
        if splitter["type"] == "ByteLevel":
            return bool(splitter["use_regex"])
        if splitter["type"] == "Metaspace":
            return bool(splitter["split"])
        if splitter["type"] == "Split":
            known = splitter["pattern"].get("Regex") in WORD_PATTERNS
            return known and (splitter["behavior"], splitter["invert"]) in (("Isolated", False), ("Removed", True))
        return splitter["type"] in SPLITS_AT_SPACES

    def _has_separate_spaces(self) -> bool:
        """Return True if every token has spaces only at its start, so that words are separate without splitting."""
        replaced = any(it["type"] == "Replace" and _repositions_spaces(it) for it in self.normalizers)
        metaspace = [(it["type"], it.get("replacement")) for it in self.pre_tokenizers] == [("Metaspace", SPACE)]
        joins = all(it["type"] == "Split" and it["pattern"] == {"String": " "} for it in self.pre_tokenizers)
        if not ((replaced and joins) or (not replaced and metaspace)):
            return False
        if not isinstance(self.backend.model, (models.BPE, models.Unigram)):
            return False
        vocab = self.backend.get_vocab(with_added_tokens=False)
        return SPACE in vocab and not any(JOINED_SPACE.search(token) for token in vocab)


def _flat(component: normalizers.Normalizer | pre_tokenizers.PreTokenizer | None, key: str) -> list[dict[str, Any]]:
    """Return the settings of a component, or those of each member of a sequence."""
    if component is None:
        return []
    try:
        return [*_members(json.loads(component.__getstate__()), key)]
    except Exception:  # noqa: BLE001  raised by the tokenizers library for components written in Python
        return [{"type": "Custom"}]


def _members(state: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    if state["type"] == "Sequence":
        for member in state[key]:
            yield from _members(member, key)
    else:
        yield state


def _is_local(normalizer: Mapping[str, Any]) -> bool:
    """Return True if a normalizer changes no characters together that a boundary separates."""
    if normalizer["type"] != "Replace":
        return normalizer["type"] in (*LOCAL_NORMALIZERS, "Strip", "Prepend")
    pattern: str | None = normalizer["pattern"].get("String")
    if pattern is None:
        return normalizer["pattern"]["Regex"] in SPACE_PATTERNS and normalizer["content"] in (" ", SPACE)
    return _repositions_spaces(normalizer) or not re.search(r"[\w\s]", pattern)


def _repositions_spaces(normalizer: Mapping[str, Any]) -> bool:
    return bool(normalizer["pattern"] == {"String": " "} and normalizer["content"] == SPACE)
