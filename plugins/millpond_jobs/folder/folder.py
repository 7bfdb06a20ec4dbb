"""JobFolder: finished shards of a job on the disk, and the records that commit them."""

import errno
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
from millpond_jobs.shards import Shard
from millpond_storage.checked import CHECKSUM, read_checked, write_checked
from millpond_storage.files import TEMPORARY_SUFFIX, append_line, read_bytes, write_durably

ID, ERROR = "id", "error"
LOCK, JOURNAL = ".lock", "journal.jsonl"
JOB_KEY, SHARD_KEY = b"millpond.job", b"millpond.shard"  # in the metadata of a shard
CHANGED = "its content has changed since it was written"
FOREIGN, SWAPPED = "it belongs to a different job", "it is a different shard of the job"
REPAIR = "run `millpond job verify --repair` on the folder"


@dataclass(frozen=True)
class Done:
    """The record that a shard is finished.

    Attributes:
        job: The id of its job.
        shard: Its name.
        rows: The number of its rows.
        failed: The number of rows without a result.
        truncated: The number of rows whose text was over the maximum length and was cut.
        tokens: The number of tokens that were computed.
        seconds: The time of its computation.
        finished: The time when it was finished, in seconds since 1970.
        sha256: The hash of its file.
    """

    job: str
    shard: str
    rows: int
    failed: int
    truncated: int
    tokens: int
    seconds: float
    finished: float
    sha256: str


DONE = TypeAdapter(Done)
JOURNALED = ("rows", "failed", "truncated", "tokens", "seconds", "finished", "sha256")


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
        if self.done.is_dir():  # the description of that job was removed
            expected |= {JOURNAL, self.failed_path.name}
        others = sorted(path.name for path in self.path.iterdir() if path.name not in expected)
        if others:
            message = f"{self.path} is not empty: it contains {others[0]!r}; choose a new folder for the job"
            raise JobError(message)
        self._refuse_results_of_others(manifest)
        with stating_failures("create folders in", self.path):
            for folder in (self.shards, self.done, self.leases):
                folder.mkdir(exist_ok=True)
            write_checked(self.manifest_path, manifest.model_dump(mode="json"), private=True)

    def _refuse_results_of_others(self, manifest: Manifest) -> None:
        """Refuse a folder whose `job.json` was removed, unless its results are those of the new job.

        Raises:
            JobError: If they are not.
        """
        shards = {shard.name: shard for shard in manifest.shards()}
        for path in sorted(self.done.glob("*.json")):
            reason = self._fault_of_record(manifest, shards.get(path.stem))
            if reason:
                message = (
                    f"{self.path} has no job.json, but results: {self.done.name}/{path.name}: {reason}; "
                    f"choose a new folder, or remove {self.shards.name}/ and {self.done.name}/"
                )
                raise JobError(message)

    def _fault_of_record(self, manifest: Manifest, shard: Shard | None) -> str:
        """Return what is wrong with the record of a shard; empty if nothing is."""
        if shard is None:
            return FOREIGN
        try:
            self.read_done(manifest, shard)
        except ShardError as error:
            return error.reason
        return ""

    def read_manifest(self) -> Manifest:
        """Return the description of the job.

        Raises:
            JobError: If the folder holds no job, or its description is damaged.
        """
        if not self.exists:
            missing = "it has no job.json" if self.path.is_dir() else "it does not exist"
            message = f"{self.path} is not the folder of a job: {missing}; start one with `millpond job run`"
            raise JobError(message)
        try:
            value, is_intact = read_checked(self.manifest_path)
            manifest = Manifest.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._damaged(".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"it is not complete JSON: {error}"
            message = f"cannot read {self.manifest_path}: {reason or error}"
            raise JobError(message) from error
        if not is_intact:
            raise self._damaged(CHECKSUM, "the content has changed since it was written")
        if manifest.id != manifest.identity():
            raise self._damaged("id", "it does not belong to the recipe, inputs and plan")
        return manifest

    def _damaged(self, key: str, reason: str) -> JobError:
        return JobError(f"{self.manifest_path} is damaged: {key}: {reason}; restore it, or start a job in a new folder")

    def shard_path(self, name: str) -> Path:
        """Return the file of a shard."""
        return self.shards / f"{name}.parquet"

    def done_path(self, name: str) -> Path:
        """Return the record that a shard is finished."""
        return self.done / f"{name}.json"

    def is_done(self, name: str) -> bool:
        """True if a shard is finished."""
        return self.done_path(name).exists()

    def read_done(self, manifest: Manifest, shard: Shard) -> Done:
        """Return the record of a finished shard.

        Raises:
            ShardError: If it is damaged, or of a different job or shard.
        """
        path = self.done_path(shard.name)
        try:
            value, is_intact = read_checked(path)
            done = DONE.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        else:
            reason = _fault(done, manifest, shard) if is_intact else f"{CHECKSUM}: {CHANGED}"
            if not reason:
                return done
        message = f"{path} is damaged: {reason}; {REPAIR}"
        raise ShardError(message, f"its record is damaged: {reason}")

    def finished(self, manifest: Manifest) -> dict[str, Done]:
        """Return the records of all finished shards, by name and in order."""
        names = {path.stem for path in self.done.glob("*.json")}
        return {shard.name: self.read_done(manifest, shard) for shard in manifest.shards() if shard.name in names}

    def commit(self, manifest: Manifest, shard: Shard, table: pa.Table, *, seconds: float) -> Done:
        """Write a shard and then the record that it is finished. A crash in between leaves it unfinished.

        Raises:
            JobError: If the disk is full or the folder cannot be written.
        """
        path = self.shard_path(shard.name)
        self.uncommit(shard.name)
        with stating_failures("write", path):
            signed = table.replace_schema_metadata({JOB_KEY: manifest.id, SHARD_KEY: shard.name})
            write_durably(path, lambda temporary: write_table(signed, temporary))
            done = Done(
                job=manifest.id,
                shard=shard.name,
                rows=table.num_rows,
                failed=_num_failed(table),
                truncated=sum(filter(None, table.column("truncated").to_pylist())),
                tokens=sum(filter(None, table.column("num_tokens").to_pylist())),
                seconds=round(seconds, 3),
                finished=datetime.now(UTC).timestamp(),
                sha256=file_sha256(path),
            )
            write_checked(self.done_path(shard.name), asdict(done))
        self.journal("shard", name=shard.name, **{key: it for key, it in asdict(done).items() if key in JOURNALED})
        return done

    def uncommit(self, name: str) -> None:
        """Mark a shard as unfinished.

        Raises:
            JobError: If its record cannot be removed, or a folder is in the place of one of its files.
        """
        self.check_replaceable(name)
        with stating_failures("remove", self.done_path(name)):
            self.done_path(name).unlink(missing_ok=True)

    def check_replaceable(self, name: str) -> None:
        """Check that the files of a shard can be written: a folder in their place is kept, its content is unknown.

        Raises:
            JobError: If a folder is in the place of one.
        """
        for path in (self.done_path(name), self.shard_path(name)):
            with stating_failures("replace", path):
                if path.is_dir() and not path.is_symlink():
                    raise IsADirectoryError(errno.EISDIR, "it is a folder")

    def read_shard(self, manifest: Manifest, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the results of a finished shard, after a check that they are those that were written.

        Args:
            manifest: The description of the job.
            shard: The shard.
            columns: The columns to read, among them ``error``; None for all.

        Raises:
            ShardError: If the file is missing, has changed, or is of a different job or shard.
        """
        path, done = self.shard_path(shard.name), self.read_done(manifest, shard)
        try:
            content = read_bytes(path)
            if hashlib.sha256(content).hexdigest() != done.sha256:
                raise self._damaged_shard(path, CHANGED)
            table = pq.read_table(pa.BufferReader(content), columns=columns)
        except FileNotFoundError as error:
            message = f"cannot read {path}: its file is missing; {REPAIR}"
            raise ShardError(message, "its file is missing") from error
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or str(error)
            message = f"cannot read {path}: {reason}; {REPAIR}"
            raise ShardError(message, reason) from error
        metadata = table.schema.metadata or {}
        if (metadata.get(JOB_KEY), metadata.get(SHARD_KEY)) != (manifest.id.encode(), shard.name.encode()):
            raise self._damaged_shard(path, FOREIGN if metadata.get(JOB_KEY) != manifest.id.encode() else SWAPPED)
        if table.num_rows != shard.rows:
            raise self._damaged_shard(path, f"it has {table.num_rows} rows; planned are {shard.rows}")
        if (failed := _num_failed(table)) != done.failed:
            raise self._damaged_shard(path, f"{failed} of its rows failed; its record states {done.failed}")
        return table.replace_schema_metadata(None)

    @staticmethod
    def _damaged_shard(path: Path, reason: str) -> ShardError:
        return ShardError(f"{path} is damaged: {reason}; {REPAIR}", reason)

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
            yield self.read_shard(manifest, shard)

    def write_failed(self, manifest: Manifest) -> None:
        """Write `failed.jsonl` anew, with the id and the error of each row without a result. Call it with the lock."""
        for path in self.path.glob(f"{self.failed_path.name}.*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)  # left by a process that was killed
        if self.failed_path.exists() or any(done.failed for done in self.finished(manifest).values()):
            with stating_failures("write", self.failed_path):
                write_durably(self.failed_path, lambda temporary: _write_lines(temporary, self.failed_rows(manifest)))

    def failed_rows(self, manifest: Manifest) -> Iterator[dict[str, Any]]:
        """Yield the input file, row in it (counted from 0), id and error of each row without a result."""
        finished = self.finished(manifest)
        for shard in manifest.shards():
            if shard.name in finished and finished[shard.name].failed:
                file = manifest.inputs[shard.file].path
                for row, result in enumerate(self.read_shard(manifest, shard, [ID, ERROR]).to_pylist(), shard.start):
                    if result[ERROR] is not None:
                        yield {"file": file, "row": row, ID: result[ID], ERROR: result[ERROR]}

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
        path = self.path / JOURNAL
        with stating_failures("append to", path):
            append_line(path, {"time": time, "event": event, **details})


def _fault(done: Done, manifest: Manifest, shard: Shard) -> str:
    """Return what is wrong with a record that was read; empty if nothing is."""
    if done.job != manifest.id:
        return f"job: {FOREIGN}"
    if done.shard != shard.name:
        return f"shard: {SWAPPED}"
    if done.rows != shard.rows:
        return f"rows: it has {done.rows} rows; planned are {shard.rows}"
    return ""


def _num_failed(table: pa.Table) -> int:
    return int(table.num_rows - table.column(ERROR).null_count)


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
