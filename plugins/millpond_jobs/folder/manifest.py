"""The description of a job, `job.json`: recipe, inputs and plan of shards, fixed when the job starts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from millpond_jobs.sources.plan import Shard
from millpond_recipes.recipe import Recipe

FORMAT: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputFile(_Frozen):
    """An input file as it was when the job was planned.

    Attributes:
        path: Its absolute path.
        format: Its suffix, such as ".jsonl".
        compression: "gzip" or "zstd"; None for none.
        size: In bytes.
        mtime_ns: Its time of modification, in nanoseconds.
        sha256: The hash of its content.
        rows: The number of rows.
    """

    path: str
    format: str
    compression: str | None = None
    size: int
    mtime_ns: int
    sha256: str
    rows: int


class PlannedShard(_Frozen):
    """A `Shard` in JSON; its file and number follow from its place in the plan."""

    start: int
    rows: int
    position: int = 0
    offset: int = 0


class Manifest(_Frozen):
    """The content of `job.json`.

    Attributes:
        format: The version of this format.
        id: A random name of the job.
        created: The time of planning, in ISO 8601.
        recipe: What is computed.
        fingerprint: The hash of everything that can change a result.
        facts: The parts of the fingerprint by name, such as the versions of libraries, to name differences.
        id_type: The type of ids: "int64" or "string".
        inputs: The input files.
        plan: The shards of each input file.
    """

    format: Literal[1] = FORMAT
    id: str
    created: str
    recipe: Recipe
    fingerprint: str
    facts: dict[str, str] = Field(default_factory=dict)
    id_type: Literal["int64", "string"]
    inputs: list[InputFile]
    plan: list[list[PlannedShard]]

    @property
    def rows(self) -> int:
        """The number of rows of all inputs."""
        return sum(file.rows for file in self.inputs)

    def shards(self) -> list[Shard]:
        """Return all shards in the order of the inputs."""
        return [
            Shard(file, number, planned.start, planned.rows, planned.position, planned.offset)
            for file, shards in enumerate(self.plan)
            for number, planned in enumerate(shards)
        ]
