"""The description of a job, `job.json`: recipe, inputs and plan of shards, fixed when the job starts."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from millpond_jobs.shards import Shard
from millpond_recipes.recipe import Recipe
from millpond_recipes.sources.files import COMPRESSIONS, FORMATS
from millpond_storage.checked import json_sha256

FORMAT: Literal[1] = 1
Count = Annotated[int, Field(ge=0, strict=True)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
COLUMNS = ("text_column", "query_column", "image_column", "id_column")


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
        ctime_ns: The time of the last change of its content or attributes, which programs cannot set.
        sha256: The hash of its content.
        rows: The number of rows.
    """

    path: str = Field(min_length=1)
    format: str
    compression: str | None = None
    size: Count
    mtime_ns: int
    ctime_ns: int
    sha256: Hash
    rows: Count

    @field_validator("format")
    @classmethod
    def _check_format(cls, value: str) -> str:
        return _known("format", value, FORMATS)

    @field_validator("compression")
    @classmethod
    def _check_compression(cls, value: str | None) -> str | None:
        return None if value is None else _known("compression", value, COMPRESSIONS.values())


class PlannedShard(_Frozen):
    """A `Shard` in JSON; its file and number follow from its place in the plan."""

    start: Count
    rows: Annotated[int, Field(ge=1, strict=True)]
    position: Count = 0
    offset: Count = 0


class Manifest(_Frozen):
    """The content of `job.json`.

    Attributes:
        format: The version of this format.
        id: A hash of everything that determines the results; each shard contains it.
        created: The time of planning, in ISO 8601.
        recipe: What is computed.
        fingerprint: The hash of everything that can change a result.
        facts: The parts of the fingerprint by name, such as the versions of libraries, to name differences.
        id_type: The type of ids: "int64" or "string".
        inputs: The input files.
        plan: The shards of each input file.
        space: The descriptor of the space of the embeddings; None for other results.
    """

    format: Literal[1] = FORMAT
    id: str
    created: str
    recipe: Recipe
    fingerprint: Hash
    facts: dict[str, str] = Field(default_factory=dict)
    id_type: Literal["int64", "string"]
    inputs: list[InputFile]
    plan: list[list[PlannedShard]]
    space: dict[str, Any] | None = None

    @field_validator("plan")
    @classmethod
    def _check_plan(cls, plan: list[list[PlannedShard]], info: ValidationInfo) -> list[list[PlannedShard]]:
        """Check that the shards of each file follow each other and contain all its rows."""
        files: list[InputFile] | None = info.data.get("inputs")
        if files is not None and len(plan) != len(files):
            message = f"it has {len(plan)} files; inputs has {len(files)}"
            raise ValueError(message)
        for number, (file, shards) in enumerate(zip(files or (), plan, strict=False)):
            end = 0
            for shard in shards:
                if shard.start != end:
                    message = f"a shard of file {number} starts at row {shard.start}; expected {end}"
                    raise ValueError(message)
                end += shard.rows
            if end != file.rows:
                message = f"the shards of file {number} have {end} rows; the file has {file.rows}"
                raise ValueError(message)
        return plan

    def identity(self) -> str:
        """Return a hash of everything that determines the results: the right value of `id`."""
        return json_sha256(
            {
                "fingerprint": self.fingerprint,
                "columns": {name: getattr(self.recipe, name) for name in COLUMNS},
                "id_type": self.id_type,
                "inputs": [[file.format, file.compression, file.sha256] for file in self.inputs],
                "plan": [[shard.model_dump() for shard in shards] for shards in self.plan],
            }
        )

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


def _known(name: str, value: str, available: Iterable[str]) -> str:
    if value not in (known := list(dict.fromkeys(available))):
        message = f"Unknown {name} {value!r}. Available: {', '.join(known)}"
        raise ValueError(message)
    return value
