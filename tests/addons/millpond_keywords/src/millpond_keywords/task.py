"""The task ``keywords``: its options and output types."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from millpond import PoolingRequestOutput


class KeywordsOptions(BaseModel):
    """Options of ``keywords``.

    Attributes:
        top_n: The maximum number of words.
        min_length: The minimum length of a word in characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_n: Annotated[int, Field(ge=1, strict=True)] = 3
    min_length: Annotated[int, Field(ge=1, strict=True)] = 1


@dataclass(frozen=True, kw_only=True)
class Keyword:
    """A word of a text.

    Attributes:
        word: The word.
        score: The cosine of its vector and the mean of all vectors.
    """

    word: str
    score: float


@dataclass(frozen=True)
class Keywords:
    """The keywords of one text, best first."""

    words: tuple[Keyword, ...]


class KeywordsRequestOutput(PoolingRequestOutput[Keywords]):
    """Result of ``LLM.keywords`` for one text."""
