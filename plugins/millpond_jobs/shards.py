"""Shards of an input file: ranges of rows, sized by the tokens that their texts probably have."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from millpond_recipes.rows import Place

BYTES_PER_TOKEN = 4
FIRST_SHARDS = (8, 8, 4, 2)  # divisors: results appear soon, and a crash at the start loses little


@dataclass(frozen=True, order=True)
class Shard:
    """A range of rows of one input file, which is computed and written as a whole.

    Attributes:
        file: The number of the file.
        number: The number of the shard within the file.
        start: The first row.
        rows: The number of rows.
        position: The place in the file where reading starts: a byte, or a row group of parquet.
        offset: The number of rows between that place and the first row.
    """

    file: int
    number: int
    start: int
    rows: int
    position: int = 0
    offset: int = 0

    @property
    def end(self) -> int:
        """The row after the last one."""
        return self.start + self.rows

    @property
    def name(self) -> str:
        """The name of its files in a job folder, such as ``00000-00017``."""
        return f"{self.file:05}-{self.number:05}"


@dataclass(frozen=True)
class ShardBudget:
    """Limits of a shard.

    Attributes:
        tokens: The number of tokens after which a shard ends.
        rows: The maximum number of rows.
    """

    tokens: int
    rows: int = 65_536

    def divided(self, number: int) -> "ShardBudget":
        """Return the limits of the shard with a number in its file: the first ones are smaller."""
        divisor = FIRST_SHARDS[number] if number < len(FIRST_SHARDS) else 1
        return ShardBudget(max(1, self.tokens // divisor), max(1, self.rows // divisor))


def cut_into_shards(file: int, places: Iterable[Place], budget: ShardBudget) -> Iterator[Shard]:
    """Yield the shards of a file from the sizes of its rows.

    Args:
        file: The number of the file.
        places: The places of its rows, in order.
        budget: The limits of a shard.
    """
    first: Place | None = None
    number = start = rows = tokens = 0
    limits = budget.divided(number)
    for row in places:
        first = first or row
        rows, tokens = rows + 1, tokens + 1 + row.size // BYTES_PER_TOKEN
        if rows >= limits.rows or tokens >= limits.tokens:
            yield Shard(file, number, start, rows, first.position, first.offset)
            number, start, first, rows, tokens = number + 1, start + rows, None, 0, 0
            limits = budget.divided(number)
    if first is not None:
        yield Shard(file, number, start, rows, first.position, first.offset)
