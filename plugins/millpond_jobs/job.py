"""Run a job: plan it once, then compute shards until all are finished; the same call resumes it."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from millpond_jobs.errors import RecipeMismatchError
from millpond_jobs.folder.folder import JobFolder
from millpond_jobs.folder.leases import Leases, remove_expired
from millpond_jobs.folder.manifest import Manifest
from millpond_jobs.inputs import Inputs
from millpond_jobs.planning import job_space, plan_job
from millpond_jobs.progress import ShardProgress
from millpond_jobs.worker import Worker
from millpond_recipes.fingerprint import EXECUTION_ARGS, fingerprint_facts
from millpond_recipes.model_facts import ModelFacts, read_model_facts
from millpond_recipes.recipe import Recipe
from millpond_recipes.runner import Runner
from millpond_recipes.sources.files import find_inputs

CONFIGURATION = "configuration"
MODEL_FACTS = ("file ", CONFIGURATION)  # facts about the model, rather than about this machine
MODEL_NAMES = ("model", "revision")
WITHOUT_EFFECT = ("on_error",)  # on results that are stored
MAX_SHOWN_DIFFERENCES = 20  # in an error message: a folder may have many new files
Sources = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class JobResult:
    """The state of a job after `run`.

    Attributes:
        folder: Its folder.
        finished: True if all shards are finished; False after a stop.
        rows: The number of finished rows.
        failed: Those among them without a result.
        truncated: Those among them whose text was over the maximum length and was cut.
        tokens: The number of tokens that were computed, over all runs.
        seconds: The duration of this call.
    """

    folder: Path
    finished: bool
    rows: int
    failed: int
    truncated: int
    tokens: int
    seconds: float


def run(
    source: Sources,
    sink: str | Path,
    recipe: Recipe,
    *,
    shard_rows: int | None = None,
    allow_duplicate_ids: bool = False,
    allow_mixed: bool = False,
    expect_space: str | None = None,
    progress: bool = False,
    stop: threading.Event | None = None,
) -> JobResult:
    """Compute a recipe for all rows of the inputs, into a folder of parquet shards.

    Call it again to resume: finished shards are kept. Several processes may run it on one folder at the same time; they
    share the shards.

    Args:
        source: Paths or patterns of input files, or a folder that `datasets` saved.
        sink: The folder of the job.
        recipe: The computation.
        shard_rows: The maximum number of rows of a shard; None for 8,192. Used when the job is planned.
        allow_duplicate_ids: Accept inputs in which two rows have one id.
        allow_mixed: Resume although the processor or versions of libraries differ: last digits of results may differ.
        expect_space: The id or the descriptor, as JSON text, of the space that the embeddings must have.
        progress: Report progress on standard error.
        stop: Set it from a different thread to stop after the current shard.

    Returns:
        The number of rows, failed rows and tokens.

    Raises:
        RecipeMismatchError: If the folder holds a job with a different recipe, model or input.
        SpaceMismatchError: If the embeddings are not of the expected space.
        InputError: If an input cannot be read, lacks a column, or was changed.
        JobError: If the folder cannot be written, such as for a full disk.
    """
    begun = time.monotonic()
    sources = [source] if isinstance(source, str | Path) else list(source)
    facts = read_model_facts(recipe)
    if expect_space is not None:
        job_space(recipe, facts).require(expect_space)
    folder = JobFolder(sink)
    with folder.lock():
        if folder.exists:
            manifest = folder.read_manifest()
            check_same_job(manifest, recipe, sources, facts, allow_mixed=allow_mixed)
        else:
            manifest = plan_job(recipe, sources, facts, shard_rows=shard_rows, unique_ids=not allow_duplicate_ids)
            folder.create(manifest)
    folder.journal("start", rows=manifest.rows, finished_shards=len(folder.finished(manifest)))
    stop = stop or threading.Event()
    _compute(folder, manifest, recipe, facts, stop=stop, show_progress=progress)
    return summarize(folder, manifest, time.monotonic() - begun)


def check_same_job(
    manifest: Manifest, recipe: Recipe, sources: Sequence[str | Path], facts: ModelFacts, *, allow_mixed: bool = False
) -> None:
    """Check that a folder's job is the one that is asked for: that it has the same results.

    Raises:
        RecipeMismatchError: Names the differences.
    """
    differences = _fact_differences(manifest.facts, fingerprint_facts(facts, recipe.task), allow_mixed=allow_mixed)
    settings = setting_differences(manifest.recipe, recipe, with_model=bool(differences))
    if settings:  # the configuration of the model follows from them
        differences = [it for it in differences if not it.startswith(CONFIGURATION)]
    differences = [*settings, *differences]
    paths = dict.fromkeys(file.path for file in manifest.inputs)
    wanted = dict.fromkeys(str(it.path) for it in find_inputs(sources))
    differences += [f"the input {path} is missing" for path in paths if path not in wanted]
    differences += [f"the input {path} is new" for path in wanted if path not in paths]
    if not differences and list(paths) != list(wanted):
        differences.append("the inputs have a different order")
    if differences:
        shown = [*differences[:MAX_SHOWN_DIFFERENCES]]
        if len(differences) > len(shown):
            shown.append(f"{len(differences) - len(shown)} other differences")
        message = (
            "the folder holds a different job: " + "; ".join(shown) + "; "
            "use the same arguments to resume it, or a new folder for a new job"
        )
        raise RecipeMismatchError(message)


def setting_differences(before: Recipe, now: Recipe, *, with_model: bool = True) -> list[str]:
    """Return the differences of settings that can change results, each with its name and both values.

    Args:
        before: A recipe.
        now: A different one.
        with_model: Compare the names of the models too: two names of the same files have the same results.
    """
    old, new = _named_settings(before), _named_settings(now)
    names = [name for name in dict.fromkeys([*new, *old]) if old.get(name) != new.get(name)]
    return [
        f"{name} was {_shown(old.get(name))}, is {_shown(new.get(name))}"
        for name in names
        if with_model or name not in MODEL_NAMES
    ]


def _named_settings(recipe: Recipe) -> dict[str, object]:
    fields = recipe.model_dump(exclude={"args", "options", *WITHOUT_EFFECT})
    arguments = {name if name not in fields else f"{name} of the model": it for name, it in recipe.args.items()}
    options = {f"the option {name} of the task": it for name, it in recipe.options.items()}
    return {**fields, **{name: it for name, it in arguments.items() if name not in EXECUTION_ARGS}, **options}


def _shown(value: object) -> str:
    return "not set" if value is None else repr(value)


def _fact_differences(before: dict[str, str], now: dict[str, str], *, allow_mixed: bool) -> list[str]:
    """Return the differences of model files, and of device and versions unless they may differ."""
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if allow_mixed:
        names = [name for name in names if name.startswith(MODEL_FACTS)]
    return [
        f"{name} of the model has changed"
        if name.startswith(MODEL_FACTS)
        else f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in names
    ]


def _compute(
    folder: JobFolder,
    manifest: Manifest,
    recipe: Recipe,
    facts: ModelFacts,
    *,
    stop: threading.Event,
    show_progress: bool,
) -> None:
    for name in folder.finished(manifest):
        if not folder.shard_path(name).is_file():  # it was removed: it is computed again
            folder.uncommit(name)
    finished = folder.finished(manifest)
    if len(finished) == len(manifest.shards()):
        return
    inputs = Inputs(manifest)
    try:
        with (
            Runner(recipe, facts) as runner,
            Leases(folder.leases) as leases,
            ShardProgress(manifest.rows, finished, shown=show_progress) as report,
        ):
            Worker(folder, manifest, inputs, leases, stop=stop, progress=report).run(runner)
    finally:
        inputs.close()


def summarize(folder: JobFolder, manifest: Manifest, seconds: float) -> JobResult:
    """Return the state of a job after a call; when it is finished, write `failed.jsonl`."""
    finished = folder.finished(manifest)
    is_finished = len(finished) == len(manifest.shards())
    if is_finished:
        with folder.lock():
            folder.write_failed(manifest)
        remove_expired(folder.leases)
    folder.journal("end", finished=is_finished)
    return JobResult(
        folder=folder.path,
        finished=is_finished,
        rows=sum(done.rows for done in finished.values()),
        failed=sum(done.failed for done in finished.values()),
        truncated=sum(done.truncated for done in finished.values()),
        tokens=sum(done.tokens for done in finished.values()),
        seconds=seconds,
    )
