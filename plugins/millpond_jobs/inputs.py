"""The input files of a planned job: read shard by shard, and checked for changes."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from millpond_checkpoints.file_hashes import file_hash
from millpond_jobs.folder.manifest import InputFile, Manifest
from millpond_jobs.shards import Shard
from millpond_recipes.errors import FailedRowError, InputError, RecipeError
from millpond_recipes.rows import Rows
from millpond_recipes.sources.files import InputName, State, reading, state_of

ID_TYPES = {"int64": pa.int64(), "string": pa.string()}


class Inputs:
    """The inputs of a job.

    Args:
        manifest: The description of the job.
        always_hash: Hash all files, also those whose size and times have not changed.

    Raises:
        InputError: If a file is missing, or its content is not what was planned.
    """

    def __init__(self, manifest: Manifest, *, always_hash: bool = False) -> None:
        self.manifest = manifest
        self._states = [check_content(file, always_hash=always_hash) for file in manifest.inputs]
        self._first_rows = list(accumulate((file.rows for file in manifest.inputs), initial=0))
        self._readers: dict[int, ShardReader] = {}

    def read(self, shard: Shard) -> Rows:
        """Return the rows of a shard.

        Raises:
            InputError: If they cannot be read.
        """
        if shard.file not in self._readers:
            self.close()
            file = self.manifest.inputs[shard.file]
            name = InputName(Path(file.path), file.format, file.compression)
            self._readers[shard.file] = ShardReader(name, self.manifest.recipe.input_columns)
        return self._readers[shard.file].read(shard)

    def ids(self, shard: Shard, rows: Rows) -> pa.Array:
        """Return the ids of a shard's rows: those of the id column, or row numbers over all inputs.

        Raises:
            InputError: If the id column holds a value of a different type than in the first row.
        """
        column, kind = self.manifest.recipe.id_column, ID_TYPES[self.manifest.id_type]
        if column is None:
            first = self._first_rows[shard.file] + shard.start
            return pa.array(range(first, first + shard.rows), kind)
        try:
            return pa.array(rows.columns[column], kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            path = self.manifest.inputs[shard.file].path
            message = f"{path}, rows {shard.start} to {shard.start + shard.rows - 1}: ids must be {kind}: {error}"
            raise InputError(message) from error

    def check_unchanged(self, shard: Shard) -> None:
        """Check that the file of a shard was not written since the start.

        Raises:
            InputError: If its size or time of modification differs.
        """
        file = self.manifest.inputs[shard.file]
        before, now = self._states[shard.file], _state(file)
        if now[:2] != before[:2] or (now != before and _hash(file) != file.sha256):
            message = (
                f"{file.path} was changed while the job was reading it: restore it, or start a job in a new folder"
            )
            raise InputError(message)
        self._states[shard.file] = now  # such as after a change of permissions

    @contextmanager
    def naming_rows(self, shard: Shard, rows: Sequence[int] | None = None) -> Iterator[None]:
        """Let the error of a failed row name the input file and the row in it.

        Args:
            shard: The shard that is computed.
            rows: The numbers of the computed rows in the shard; None for all.

        Raises:
            RecipeError: If the body raises FailedRowError.
        """
        try:
            yield
        except FailedRowError as error:
            row = shard.start + (error.row if rows is None else rows[error.row])
            message = f"row {row} of {self.manifest.inputs[shard.file].path} (counted from 0): {error.reason}"
            raise RecipeError(message) from error

    def close(self) -> None:
        """Close the open file."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}


class ShardReader:
    """An open input file, which is read shard by shard; fastest in the order of the file.

    Args:
        name: The file.
        columns: The columns to read.
    """

    def __init__(self, name: InputName, columns: Sequence[str]) -> None:
        self._name, self._columns, self._file = name, columns, name.open(columns)
        self._blocks: Generator[Rows] | None = None
        self._rest: Rows | None = None
        self._next = 0  # the number of the next row

    def read(self, shard: Shard) -> Rows:
        """Return the rows of a shard.

        Raises:
            InputError: If the file is damaged there, or ends before.
        """
        first = shard.start - shard.offset  # where reading starts if the file is opened again
        if self._blocks is None or not first <= self._next <= shard.start:
            self.close()
            self._blocks, self._next = self._file.blocks(shard.position, shard.offset), shard.start
        try:
            for _ in self._take(shard.start):  # rows that another worker computes
                continue
            return Rows.joined(list(self._take(shard.end)), self._columns)
        except InputError as error:
            message = f"{error}; in the rows {shard.start} to {shard.end - 1} (counted from 0)"
            raise InputError(message) from error

    def _take(self, end: int) -> Iterator[Rows]:
        """Yield the rows up to a number, in parts."""
        while self._next < end:
            rows = self._rest or next(self._blocks or iter(()), None)
            if rows is None:
                message = f"{self._name.path} ends before row {self._next}: it has changed"
                raise InputError(message)
            count = end - self._next
            self._rest = rows.slice(count) if len(rows) > count else None
            part = rows.slice(0, count)
            self._next += len(part)
            yield part

    def close(self) -> None:
        """Close the file."""
        if self._blocks is not None:
            self._blocks.close()
        self._blocks = self._rest = None


def check_content(file: InputFile, *, always_hash: bool = False) -> State:
    """Check that a file has the content that was planned, and return its size and times.

    The content is hashed only if the size is the same and a time differs, unless ``always_hash``. The time of
    modification alone does not suffice: programs that copy files set it.

    Raises:
        InputError: If it differs.
    """
    state = _state(file)
    is_same = state == (file.size, file.mtime_ns, file.ctime_ns) and not always_hash
    if not is_same and (state[0] != file.size or _hash(file) != file.sha256):
        message = f"{file.path} has changed since the job was planned: restore it, or start a job in a new folder"
        raise InputError(message)
    return state


def _hash(file: InputFile) -> str:
    with reading(file.path):
        return file_hash(Path(file.path))


def _state(file: InputFile) -> State:
    with reading(file.path):
        return state_of(Path(file.path).stat())
