"""Aggregation of token classes to entities, equivalent to transformers' TokenClassificationPipeline.

"none" returns each token; "simple" joins adjacent tokens of one entity type. The other strategies first assign one type
to each word: that of its "first" token, of the mean over its tokens ("average"), or of the token with the highest score
("max").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_AGGREGATION, SIMPLE = "none", "simple"
Scores = NDArray[np.float32]
JoinTokens = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A token or a word of a text, with the probability of each label.

    Attributes:
        word: The token as text.
        start: The index of its first character.
        end: The index after its last character.
        continues_word: True if it continues the word of the previous token.
        scores: The probabilities, [num_labels].
        token: The index of the token in the sequence; None for a word.
    """

    word: str
    start: int
    end: int
    continues_word: bool
    scores: Scores
    token: int | None


@dataclass(frozen=True, slots=True)
class Tagged:
    """A piece with its most probable label."""

    label: str
    score: np.float32
    piece: Piece


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """Combines the tokens of a text to entities.

    Attributes:
        name: "none", "simple", "first", "average" or "max".
        labels: The names of the labels; "B-PER" starts an entity of type PER, and "I-PER" continues it.
        ignored: The labels of entities to omit.
        spell: Joins tokens to a text.
        entity: The type of entities, called with their fields as keyword arguments.
    """

    name: str
    labels: Sequence[str]
    ignored: frozenset[str]
    spell: JoinTokens
    entity: Callable[..., Any]

    def __call__(self, pieces: Sequence[Piece], text: str) -> tuple[Any, ...]:
        """Return the entities of a text in their order."""
        if self.name == NO_AGGREGATION:
            entities = [self._entity([self._tagged(piece)], text) for piece in pieces]
        else:
            parts = pieces if self.name == SIMPLE else self._words(pieces)
            entities = [self._entity(group, text) for group in grouped([self._tagged(part) for part in parts])]
        return tuple(entity for entity in entities if entity.label not in self.ignored)

    def _tagged(self, piece: Piece) -> Tagged:
        best = int(piece.scores.argmax())
        return Tagged(self.labels[best], piece.scores[best], piece)

    def _words(self, pieces: Sequence[Piece]) -> list[Piece]:
        words: list[list[Piece]] = []
        for piece in pieces:
            if words and piece.continues_word:
                words[-1].append(piece)
            else:
                words.append([piece])
        return [self._joined(word) for word in words]

    def _joined(self, word: Sequence[Piece]) -> Piece:
        return Piece(
            word=self.spell([piece.word for piece in word]),
            start=word[0].start,
            end=word[-1].end,
            continues_word=False,
            scores=BY_WORD[self.name](np.stack([piece.scores for piece in word])),
            token=None,
        )

    def _entity(self, group: Sequence[Tagged], text: str) -> Any:
        first, last = group[0].piece, group[-1].piece
        is_token = self.name == NO_AGGREGATION
        return self.entity(
            label=group[0].label if is_token else group[0].label.split("-", 1)[-1],
            score=float(group[0].score if is_token else np.mean([tagged.score for tagged in group])),
            start=first.start,
            end=last.end,
            text=text[first.start : last.end],
            word=first.word if is_token else self.spell([tagged.piece.word for tagged in group]),
            token=first.token if is_token else None,
        )


def grouped(tagged: Sequence[Tagged]) -> list[list[Tagged]]:
    """Group adjacent pieces of one entity type; a label with the prefix ``B-`` starts a new group."""
    groups: list[list[Tagged]] = []
    for one in tagged:
        is_first, entity_type = parse_label(one.label)
        if groups and not is_first and entity_type == parse_label(groups[-1][-1].label)[1]:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def parse_label(label: str) -> tuple[bool, str]:
    """Return True if a label starts an entity, and the entity type: PER for ``B-PER`` and ``I-PER``."""
    prefixed = label.startswith(("B-", "I-"))
    return label.startswith("B-"), label[2:] if prefixed else label


BY_WORD: Mapping[str, Callable[[Scores], Scores]] = MappingProxyType(
    {
        "first": lambda rows: rows[0],
        "average": lambda rows: rows.mean(axis=0),
        "max": lambda rows: rows[rows.max(axis=1).argmax()],
    }
)
AGGREGATIONS = (NO_AGGREGATION, SIMPLE, *BY_WORD)
