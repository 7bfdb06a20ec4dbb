"""Options and output types of the task ``entities``: parts of a text with their labels and characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import field_validator

from millpond.types.outputs import PoolingRequestOutput
from millpond_tasks.options import TaskOptions


class EntitiesOptions(TaskOptions):
    """Options of ``entities``, as in ``TokenClassificationPipeline`` of transformers.

    Attributes:
        aggregation: "none" returns each token; "simple" joins adjacent tokens of one entity type, where the prefix
            ``B-`` starts a new entity; the others first assign one label to each word: that of its "first" token, of
            the mean over its tokens ("average"), or of its token with the highest score ("max").
        ignore_labels: The labels of entities to omit.
    """

    aggregation: str = "simple"
    ignore_labels: tuple[str, ...] = ("O",)

    @field_validator("ignore_labels", mode="before")
    @classmethod
    def _are_labels(cls, value: object) -> object:
        if isinstance(value, str) or not isinstance(value, Sequence):
            message = f"ignore_labels must be a list of names of classes; got {value!r}"
            raise ValueError(message)  # noqa: TRY004  pydantic reports a ValueError as an error of the field
        return tuple(map(str, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A part of a text with its label; with ``aggregation="none"``, a token.

    Attributes:
        label: The label, such as ``PER``; for a token, the full label, such as ``B-PER``.
        score: The probability of the label, from 0 to 1.
        start: The index of the first character.
        end: The index after the last character.
        text: The characters from start to end.
        word: The text of its tokens, as decoded by the tokenizer.
        token: The index of the token in the sequence; None for an entity.
    """

    label: str
    score: float
    start: int
    end: int
    text: str
    word: str
    token: int | None = None


@dataclass(frozen=True, slots=True)
class EntitiesOutput:
    """The entities of one text in their order; iterating yields each ``Entity``.

    Attributes:
        entities: The entities.
        text: The text.
        entity: The type of the entities.
    """

    entity: ClassVar[type[Entity]] = Entity
    entities: tuple[Entity, ...]
    text: str = ""

    def __len__(self) -> int:
        return len(self.entities)

    def __getitem__(self, index: int) -> Entity:
        return self.entities[index]

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.entities)

    def __repr__(self) -> str:
        return f"EntitiesOutput(num_entities={len(self.entities)})"


class EntitiesRequestOutput(PoolingRequestOutput[EntitiesOutput]):
    """Result of ``LLM.entities`` for one text."""
