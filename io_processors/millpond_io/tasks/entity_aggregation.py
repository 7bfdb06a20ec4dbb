"""From what each token is of to entities: the ways of transformers' TokenClassificationPipeline, to the same numbers.

"none" tells each token; "simple" joins neighbours of one kind; the others first let each word be of one kind: that of
its "first" token, of the mean over its tokens ("average"), or of its surest token ("max").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

NONE, SIMPLE = "none", "simple"
Scores = NDArray[np.float32]
Spell = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A token of a text, or a word, and how sure it is of each kind.

    Attributes:
        word: How it is spelled.
        start: Its first character.
        end: The character behind its last.
        goes_on: Whether it goes on with the word before it.
        scores: [num_labels], summing to 1.
        token: Its place among the tokens that the model read; None of a word.
    """

    word: str
    start: int
    end: int
    goes_on: bool
    scores: Scores
    token: int | None


@dataclass(frozen=True, slots=True)
class Tagged:
    """A piece, and what it is of."""

    label: str
    score: np.float32
    piece: Piece


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """How the tokens of a text become entities.

    Attributes:
        name: "none", "simple", "first", "average" or "max".
        labels: The names of the kinds; of "B-PER" and "I-PER", the first begins an entity and the second goes on.
        ignored: The names, as entities have them, of what is left out.
        spell: Words of tokens.
        entity: Makes an entity of its fields: the type that the task's output holds.
    """

    name: str
    labels: Sequence[str]
    ignored: frozenset[str]
    spell: Spell
    entity: Callable[..., Any]

    def __call__(self, pieces: Sequence[Piece], text: str) -> tuple[Any, ...]:
        """The entities of a text, in its order."""
        if self.name == NONE:
            found = [self._entity([self._tagged(piece)], text) for piece in pieces]
        else:
            parts = pieces if self.name == SIMPLE else self._words(pieces)
            found = [self._entity(group, text) for group in grouped([self._tagged(part) for part in parts])]
        return tuple(entity for entity in found if entity.label not in self.ignored)

    def _tagged(self, piece: Piece) -> Tagged:
        best = int(piece.scores.argmax())
        return Tagged(self.labels[best], piece.scores[best], piece)

    def _words(self, pieces: Sequence[Piece]) -> list[Piece]:
        words: list[list[Piece]] = []
        for piece in pieces:
            if words and piece.goes_on:
                words[-1].append(piece)
            else:
                words.append([piece])
        return [self._joined(word) for word in words]

    def _joined(self, word: Sequence[Piece]) -> Piece:
        return Piece(
            word=self.spell([piece.word for piece in word]),
            start=word[0].start,
            end=word[-1].end,
            goes_on=False,
            scores=BY_WORD[self.name](np.stack([piece.scores for piece in word])),
            token=None,
        )

    def _entity(self, group: Sequence[Tagged], text: str) -> Any:
        first, last = group[0].piece, group[-1].piece
        alone = self.name == NONE
        return self.entity(
            label=group[0].label if alone else group[0].label.split("-", 1)[-1],
            score=float(group[0].score if alone else np.mean([tagged.score for tagged in group])),
            start=first.start,
            end=last.end,
            text=text[first.start : last.end],
            word=first.word if alone else self.spell([tagged.piece.word for tagged in group]),
            token=first.token if alone else None,
        )


def grouped(tagged: Sequence[Tagged]) -> list[list[Tagged]]:
    """Neighbours of one kind together; what begins an entity is of none before it."""
    groups: list[list[Tagged]] = []
    for one in tagged:
        begins, kind = kind_of(one.label)
        if groups and not begins and kind == kind_of(groups[-1][-1].label)[1]:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def kind_of(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and of which kind: ``B-PER`` and ``I-PER`` are of PER, any other of itself."""
    prefixed = label.startswith(("B-", "I-"))
    return label.startswith("B-"), label[2:] if prefixed else label


BY_WORD: Mapping[str, Callable[[Scores], Scores]] = MappingProxyType(
    {
        "first": lambda rows: rows[0],
        "average": lambda rows: rows.mean(axis=0),
        "max": lambda rows: rows[rows.max(axis=1).argmax()],
    }
)
AGGREGATIONS = (NONE, SIMPLE, *BY_WORD)
