"""JobFolder: finished shards of a job on the disk, and the records that commit them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from millpond_jobs.errors import JobError, ShardError
from millpond_jobs.folder.files import stating_failures
from millpond_jobs.folder.manifest import Manifest
from millpond_jobs.sources.plan import Shard
from millpond_storage.files import (
    TEMPORARY_SUFFIX,
    append_line,
    read_json,
    write_durably,
    write_json,
)

ID, ERROR = "id", "error"
LOCK = ".lock"
REPAIR = "run `millpond job verify --repair` on the folder"


@dataclass(frozen=True)
class Done:
    """The record that a shard is finished.

    Attributes:
        rows: The number of its rows.
        failed: The number of rows without a result.
        truncated: The number of rows whose text was over the maximum length and was cut.
        tokens: The number of tokens that were computed.
        seconds: The time of its computation.
        finished: The time when it was finished, in seconds since 1970.
        sha256: The hash of its file.
    """

    rows: int
    failed: int
    truncated: int
    tokens: int
    seconds: float
    finished: float
    sha256: str


DONE = TypeAdapter(Done)


class JobFolder:
    """A folder with a job.

    Args:
        path: The folder; it is created when the job is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.shards, self.done, self.leases = self.path / "shards", self.path / "done", self.path / "leases"
        self.manifest_path, self.failed_path = self.path / "job.json", self.path / "failed.jsonl"

    @property
    def exists(self) -> bool:
        """True if the folder holds a job."""
        return self.manifest_path.exists()

    def lock(self) -> FileLock:
        """Return a lock that other processes respect while a job is planned or its results are summarized."""
        with stating_failures("create the folder", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / LOCK)

    def create(self, manifest: Manifest) -> None:
        """Start a job: create the folders, and write its description last.

        Raises:
            JobError: If the folder contains other files, or cannot be written.
        """
        self._remove_temporary_descriptions()
        expected = {LOCK, self.shards.name, self.done.name, self.leases.name}
        others = sorted(path.name for path in self.path.iterdir() if path.name not in expected)
        if others:
            message = f"{self.path} is not empty: it contains {others[0]!r}; choose a new folder for the job"
            raise JobError(message)
        with stating_failures("create folders in", self.path):
            for folder in (self.shards, self.done, self.leases):
                folder.mkdir(exist_ok=True)
            write_json(self.manifest_path, manifest.model_dump(mode="json"))

    def read_manifest(self) -> Manifest:
        """Return the description of the job.

        Raises:
            JobError: If the folder holds no job, or its description is damaged.
        """
        if not self.exists:
            message = f"{self.path} is not the folder of a job: it has no job.json; start one with `millpond job run`"
            raise JobError(message)
        try:
            return Manifest.model_validate(read_json(self.manifest_path))
        except (OSError, json.JSONDecodeError) as error:
            message = f"cannot read {self.manifest_path}: {error}"
            raise JobError(message) from error
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{self.manifest_path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise JobError(message) from error

    def shard_path(self, name: str) -> Path:
        """Return the file of a shard."""
        return self.shards / f"{name}.parquet"

    def done_path(self, name: str) -> Path:
        """Return the record that a shard is finished."""
        return self.done / f"{name}.json"

    def is_done(self, name: str) -> bool:
        """True if a shard is finished."""
        return self.done_path(name).exists()

    def read_done(self, name: str) -> Done:
        """Return the record of a finished shard.

        Raises:
            ShardError: If it is damaged.
        """
        path = self.done_path(name)
        try:
            return DONE.validate_python(read_json(path))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
        except (OSError, ValueError) as error:
            reason = str(error)
        message = f"{path} is damaged: {reason}; {REPAIR}"
        raise ShardError(message)

    def finished(self, manifest: Manifest) -> dict[str, Done]:
        """Return the records of all finished shards, by name and in order."""
        names = {path.stem for path in self.done.glob("*.json")}
        return {shard.name: self.read_done(shard.name) for shard in manifest.shards() if shard.name in names}

    def commit(self, shard: Shard, table: pa.Table, *, seconds: float) -> Done:
        """Write a shard and then the record that it is finished. A crash in between leaves it unfinished.

        Raises:
            JobError: If the disk is full or the folder cannot be written.
        """
        path = self.shard_path(shard.name)
        self.uncommit(shard.name)
        with stating_failures("write", path):
            write_durably(path, lambda temporary: write_table(table, temporary))
            done = Done(
                rows=table.num_rows,
                failed=table.num_rows - table.column(ERROR).null_count,
                truncated=sum(filter(None, table.column("truncated").to_pylist())),
                tokens=sum(filter(None, table.column("num_tokens").to_pylist())),
                seconds=round(seconds, 3),
                finished=datetime.now(UTC).timestamp(),
                sha256=file_sha256(path),
            )
            write_json(self.done_path(shard.name), asdict(done))
        self.journal("shard", name=shard.name, **asdict(done))
        return done

    def uncommit(self, name: str) -> None:
        """Mark a shard as unfinished."""
        with stating_failures("remove", self.done_path(name)):
            self.done_path(name).unlink(missing_ok=True)

    def read_shard(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the results of a finished shard.

        Args:
            name: The name of the shard.
            columns: The columns to read; None for all.

        Raises:
            ShardError: If the file is missing or damaged.
        """
        try:
            return pq.read_table(self.shard_path(name), columns=columns, memory_map=False)
        except (OSError, pa.ArrowException) as error:
            message = f"cannot read {self.shard_path(name)}: {error}; {REPAIR}"
            raise ShardError(message) from error

    def tables(self, manifest: Manifest) -> Iterator[pa.Table]:
        """Yield the results of all shards in the order of the inputs.

        Raises:
            JobError: If the job is not finished.
        """
        shards = manifest.shards()
        missing = sum(not self.is_done(shard.name) for shard in shards)
        if missing:
            message = (
                f"the job in {self.path} is not finished: {missing} of {len(shards)} shards are missing; run it again"
            )
            raise JobError(message)
        for shard in shards:
            yield self.read_shard(shard.name)

    def write_failed(self, manifest: Manifest) -> None:
        """Write `failed.jsonl` anew, with the id and the error of each row without a result. Call it with the lock."""
        for path in self.path.glob(f"{self.failed_path.name}.*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)  # left by a process that was killed
        if self.failed_path.exists() or any(done.failed for done in self.finished(manifest).values()):
            with stating_failures("write", self.failed_path):
                write_durably(self.failed_path, lambda temporary: _write_lines(temporary, self.failed_rows(manifest)))

    def failed_rows(self, manifest: Manifest) -> Iterator[dict[str, Any]]:
        """Yield the shard, row, id and error of each row without a result."""
        for name, done in self.finished(manifest).items():
            if done.failed:
                table = self.read_shard(name, [ID, ERROR])
                for index, row in enumerate(table.to_pylist()):
                    if row[ERROR] is not None:
                        yield {"shard": name, "row": index, ID: row[ID], ERROR: row[ERROR]}

    def remove_temporary_files(self, shard: Shard) -> None:
        """Remove what a crashed worker left of a shard. Call it with the shard's lease."""
        for folder in (self.shards, self.done):
            for path in folder.glob(f"{shard.name}.*{TEMPORARY_SUFFIX}"):
                path.unlink(missing_ok=True)

    def _remove_temporary_descriptions(self) -> None:
        """Remove what a process left that was killed while it planned the job."""
        with stating_failures("remove temporary files in", self.path):
            for path in self.path.glob(f"{self.manifest_path.name}.*{TEMPORARY_SUFFIX}"):
                path.unlink(missing_ok=True)

    def journal(self, event: str, **details: object) -> None:
        """Append an event to `journal.jsonl`, a log for people."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        path = self.path / "journal.jsonl"
        with stating_failures("append to", path):
            append_line(path, {"time": time, "event": event, **details})


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet. The same table always becomes the same bytes."""
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
