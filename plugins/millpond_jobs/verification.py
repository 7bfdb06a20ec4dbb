"""Check a finished or unfinished job: hashes, row counts, and a sample that is computed again."""

import random
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from millpond_command.progress import Progress
from millpond_jobs.errors import JobError, ShardError
from millpond_jobs.folder.folder import ERROR, ID, JobFolder
from millpond_jobs.folder.manifest import Manifest
from millpond_jobs.inputs import Inputs
from millpond_jobs.shards import Shard
from millpond_recipes.runner import Runner

SAMPLE_ROWS = 32
SAMPLE_TOLERANCE = 1e-5  # between runs with different batches or processors; equal bits otherwise


@dataclass(frozen=True)
class Verification:
    """The result of a check.

    Attributes:
        shards: The number of shards of the job.
        finished: Those that are finished.
        damaged: What is wrong with a shard, by its name.
        sampled: The number of rows that were computed again.
        equal: Those among them with the same bits.
        different: The input file, row in it (counted from 0) and id of each row whose result differs by more than the
            tolerance.
        repaired: True if damaged shards were marked as unfinished.
    """

    shards: int
    finished: int
    damaged: dict[str, str] = field(default_factory=dict)
    sampled: int = 0
    equal: int = 0
    different: list[dict[str, object]] = field(default_factory=list)
    repaired: bool = False

    @property
    def ok(self) -> bool:
        """True if nothing is damaged or different."""
        return not self.damaged and not self.different


def verify(
    folder: str | Path,
    *,
    sample: int = SAMPLE_ROWS,
    repair: bool = False,
    seed: int | None = None,
    progress: bool | None = False,
) -> Verification:
    """Check the finished shards of a job.

    Args:
        folder: The folder of a job.
        sample: The number of rows to compute again; 0 for none, which needs no model.
        repair: Mark damaged shards as unfinished, so that the next `run` computes them.
        seed: The seed of the sample; None for a random one.
        progress: Report progress on standard error; None to report it on a terminal.

    Raises:
        JobError: If the folder holds no job, or damaged files cannot be removed.
        InputError: If rows are sampled and an input was changed.
    """
    job = JobFolder(folder)
    manifest = job.read_manifest()
    finished = [shard for shard in manifest.shards() if job.is_done(shard.name)]
    damaged = _find_damage(job, manifest, finished, progress)
    if repair:
        _repair(job, damaged)
    sound = [shard for shard in finished if shard.name not in damaged and shard.rows]
    sampled, equal = 0, 0
    different: list[dict[str, object]] = []
    if sample and sound:
        chosen = sample_rows(sound, sample, random.Random(seed))  # noqa: S311
        sampled, equal, different = _compare_sample(job, manifest, chosen, progress)
    return Verification(
        shards=len(manifest.shards()),
        finished=len(finished),
        damaged=damaged,
        sampled=sampled,
        equal=equal,
        different=different,
        repaired=repair and bool(damaged),
    )


def _find_damage(job: JobFolder, manifest: Manifest, shards: list[Shard], shown: bool | None) -> dict[str, str]:
    """Return what is wrong with shards, by their names; those without damage are left out."""
    damaged: dict[str, str] = {}
    with Progress(shown=shown, total=lambda: len(shards), unit="shards") as report:
        for shard in shards:
            try:
                job.read_shard(manifest, shard)
            except ShardError as error:
                damaged[shard.name] = error.reason
            report.update(1, f"{len(damaged):,} damaged" if damaged else "")
    return damaged


def _repair(job: JobFolder, names: Iterable[str]) -> None:
    """Mark shards as unfinished, all that can be.

    Raises:
        JobError: If some cannot.
    """
    errors: list[str] = []
    for name in names:
        try:
            job.uncommit(name)
        except JobError as error:
            errors.append(str(error))
    if errors:
        raise JobError("\n".join(errors))


def _compare_sample(
    job: JobFolder, manifest: Manifest, chosen: dict[Shard, list[int]], shown: bool | None
) -> tuple[int, int, list[dict[str, object]]]:
    """Compute rows of shards again, and return their number, the number of equal ones, and the different ones."""
    total = sum(map(len, chosen.values()))
    equal = 0
    different: list[dict[str, object]] = []
    with (
        closing(Inputs(manifest, always_hash=True)) as inputs,
        Runner(manifest.recipe.model_copy(update={"on_error": "null"})) as runner,
        Progress(shown=shown, total=lambda: total, unit="rows") as report,
    ):
        for shard, rows in chosen.items():
            stored = job.read_shard(manifest, shard).take(pa.array(rows))
            computed = runner.compute(inputs.read(shard).take(rows))
            for index, row in enumerate(rows):
                is_equal, is_close = compare_rows(stored.slice(index, 1), computed.slice(index, 1))
                equal += is_equal
                if not is_close:
                    path, row_id = manifest.inputs[shard.file].path, stored.column(ID)[index].as_py()
                    different.append({"file": path, "row": shard.start + row, ID: row_id})
            report.update(len(rows))
    return total, equal, different


def sample_rows(shards: list[Shard], count: int, chance: random.Random) -> dict[Shard, list[int]]:
    """Return random rows of shards, sorted; all rows if there are no more than ``count``."""
    total = sum(shard.rows for shard in shards)
    chosen = sorted(chance.sample(range(total), min(count, total)))
    sampled: dict[Shard, list[int]] = {}
    start = 0
    for shard in sorted(shards):
        rows = [row - start for row in chosen if start <= row < start + shard.rows]
        if rows:
            sampled[shard] = rows
        start += shard.rows
    return sampled


def compare_rows(stored: pa.Table, computed: pa.Table) -> tuple[bool, bool]:
    """Return whether a row's results are equal bit by bit, and whether they are equal up to the tolerance."""
    names = [name for name in computed.column_names if name != ERROR]
    before, now = (table.select(names).to_pylist()[0] for table in (stored, computed))
    failed_before, failed_now = (table.column(ERROR)[0].as_py() is not None for table in (stored, computed))
    if before == now and failed_before == failed_now:
        return True, True
    return False, failed_before == failed_now and _is_close(before, now)


def _is_close(before: object, now: object) -> bool:
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(_is_close(before[name], now[name]) for name in before)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_is_close, before, now))
    if isinstance(before, float) and isinstance(now, float):
        return bool(np.isclose(before, now, rtol=SAMPLE_TOLERANCE, atol=SAMPLE_TOLERANCE, equal_nan=True))
    return before == now
