"""The task ``entities``: options and output types. Parts of a text with their labels and characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import field_validator

from millpond.types.outputs import PoolingRequestOutput
from millpond_tasks.options import TaskOptions


class EntitiesOptions(TaskOptions):
    """Options of ``entities``, as in ``TokenClassificationPipeline`` of transformers.

    Attributes:
        aggregation: "none" returns each token; "simple" joins neighbours of one label, where ``B-`` begins a new
            entity; the others first give each word one label: that of its "first" token, of the mean over its tokens
            ("average"), or of its token with the highest score ("max").
        ignore_labels: The labels that are left out.
    """

    aggregation: str = "simple"
    ignore_labels: tuple[str, ...] = ("O",)

    @field_validator("ignore_labels", mode="before")
    @classmethod
    def _are_labels(cls, value: object) -> object:
        if isinstance(value, str) or not isinstance(value, Sequence):
            message = f"ignore_labels must be a list of names of classes; got {value!r}"
            raise ValueError(message)  # noqa: TRY004  pydantic makes it an error of the field
        return tuple(map(str, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A part of a text with its label, or a token of it.

    Attributes:
        label: The label, such as ``PER``; of a token, the whole name, such as ``B-PER``.
        score: The model's confidence, from 0 to 1.
        start: Its first character.
        end: The character after its last.
        text: The characters from start to end.
        word: The same as the tokens spell it.
        token: Of a token, its place among those that the model read; else None.
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
    """The entities of one text, in their order in it; iterating returns each ``Entity``.

    Attributes:
        entities: All of them.
        text: The text.
        entity: The type of each.
    """

    entity: ClassVar[type[Entity]] = Entity
    entities: tuple[Entity, ...]
    text: str = ""

    def __len__(self) -> int:
        return len(self.entities)

    def __getitem__(self, place: int) -> Entity:
        return self.entities[place]

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.entities)

    def __repr__(self) -> str:
        return f"EntitiesOutput(num_entities={len(self.entities)})"


class EntitiesRequestOutput(PoolingRequestOutput[EntitiesOutput]):
    """Result of ``LLM.entities`` for one text."""
