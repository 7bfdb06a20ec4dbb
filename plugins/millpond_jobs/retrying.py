"""Compute the failed rows of a job again."""

import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from millpond_command.progress import Progress
from millpond_jobs.errors import JobError
from millpond_jobs.folder.folder import ERROR, JobFolder
from millpond_jobs.folder.leases import Leases
from millpond_jobs.inputs import Inputs
from millpond_jobs.job import JobResult, check_same_job, summarize
from millpond_jobs.shards import Shard
from millpond_jobs.worker import with_ids
from millpond_recipes.model_facts import read_model_facts
from millpond_recipes.runner import Runner


def retry(folder: str | Path, *, allow_mixed: bool = False, progress: bool | None = False) -> JobResult:
    """Compute the rows again that have no result, and rewrite their shards.

    A shard that is rewritten while the process ends is computed as a whole by the next `run`.

    Args:
        folder: The folder of a job.
        allow_mixed: As in `run`.
        progress: Report progress on standard error; None to report it on a terminal.

    Raises:
        RecipeMismatchError: If the model has changed.
        InputError: If an input was changed.
        JobError: If a worker still computes a shard with failed rows.
    """
    begun = time.monotonic()
    job = JobFolder(folder)
    manifest = job.read_manifest()
    facts = read_model_facts(manifest.recipe)
    check_same_job(manifest, manifest.recipe, [it.path for it in manifest.inputs], facts, allow_mixed=allow_mixed)
    finished = job.finished(manifest)
    shards = [shard for shard in manifest.shards() if shard.name in finished and finished[shard.name].failed]
    if shards:
        failed = sum(finished[shard.name].failed for shard in shards)
        with (
            closing(Inputs(manifest)) as inputs,
            Runner(manifest.recipe, facts) as runner,
            Leases(job.leases) as leases,
            Progress(shown=progress, total=lambda: failed, unit="rows") as report,
        ):
            for shard in shards:
                _retry_shard(job, shard, inputs, runner, leases)
                report.update(finished[shard.name].failed)
    return summarize(job, manifest, time.monotonic() - begun)


def _retry_shard(job: JobFolder, shard: Shard, inputs: Inputs, runner: Runner, leases: Leases) -> None:
    manifest = inputs.manifest
    if not leases.claim(shard.name):
        message = f"another worker computes shard {shard.name}: wait for it, then retry"
        raise JobError(message)
    before = job.read_shard(manifest, shard)
    done = job.read_done(manifest, shard)
    failed = np.flatnonzero(before.column(ERROR).is_valid().to_numpy())
    chosen = inputs.read(shard).take(failed.tolist())
    begun = time.perf_counter()
    with inputs.naming_rows(shard, failed.tolist()):
        results = runner.compute(chosen)
    seconds = time.perf_counter() - begun
    after = replace_rows(before, failed, with_ids(before.column("id").take(pa.array(failed)), results))
    inputs.check_unchanged(shard)
    job.commit(manifest, shard, after, seconds=done.seconds + seconds)
    leases.release(shard.name)


def replace_rows(table: pa.Table, indices: "np.ndarray[tuple[int], np.dtype[np.int64]]", rows: pa.Table) -> pa.Table:
    """Return a table with some rows replaced.

    Args:
        table: [n] rows.
        indices: [k] numbers of rows.
        rows: [k] rows of the same columns, whose types the result has: parquet changes names within types.
    """
    order = np.arange(table.num_rows)
    order[indices] = table.num_rows + np.arange(len(indices))
    return pa.concat_tables([table.cast(rows.schema), rows]).take(pa.array(order)).combine_chunks()
