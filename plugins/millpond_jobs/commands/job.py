"""``millpond job``: bulk jobs over files, which resume after a crash."""

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millpond_command import declare
from millpond_command.cli import FAILURE, INTERRUPTED, PARTIAL, USAGE, CommandError, echo, echo_stderr
from millpond_command.cluster_options import ClusterOptions, chosen_cluster
from millpond_command.extras import check_extra
from millpond_command.model_arguments import arguments_of, check_folder, read_expected_space, task_named
from millpond_command.model_options import MODEL_HELP, ExpectSpace, ProgressOptions, RunOptions
from millpond_command.stop_signals import stop_on_signals
from millpond_jobs.commands.options import Columns, Computation

if TYPE_CHECKING:
    from millpond_jobs.job import JobResult
    from millpond_recipes.recipe import Recipe

RUN_EXAMPLES = (
    "millpond job run data/*.parquet -o out/ -m BAAI/bge-m3 --text-column body --id-column id",
    "millpond job run docs.jsonl.gz -o out/ -m intfloat/e5-base-v2 --input-type document --dimensions 256",
    "millpond job run pairs.csv -o out/ -m BAAI/bge-reranker-base --task score --query-column question",
    "millpond job run data/*.parquet -o out/ -m BAAI/bge-m3   # the same command again resumes the job",
    "millpond job run data/*.parquet -o out/ -m BAAI/bge-m3 --ray auto",
)
EXPORT_EXAMPLES = (
    "millpond job export out/ --to npy:vectors.npy",
    "millpond job export out/ --to faiss:index.faiss --skip-failed",
    "millpond job export out/ --to pgvector:postgresql://localhost/db --name documents",
)

QUIET_HELP = "Hide progress, and the summary if no row failed."

app = declare.new_app()

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of a job.", show_default=False)]
InputNames = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files of parquet, JSONL or CSV (also .gz and .zst), patterns, or a folder that `datasets` saved.",
        show_default=False,
    ),
]
Output = Annotated[str, declare.option("Output", "--output", "-o", metavar="FOLDER", help="The folder of the job.")]
Model = Annotated[str, declare.option("Model", "--model", "-m", metavar="MODEL", help=MODEL_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AllowMixed = Annotated[
    bool,
    declare.option(
        "Output",
        "--allow-mixed",
        help="Resume although the processor or versions of libraries differ: last digits of results may differ.",
    ),
]


@app.callback()
def job() -> None:
    """Run bulk jobs over files, which resume after a crash."""


@declare.command(app, examples=RUN_EXAMPLES, short_help="Start or resume a job.")
def run(
    *,
    inputs: InputNames,
    output: Output,
    model: Model,
    expect_space: ExpectSpace = None,
    columns: Columns,
    computation: Computation,
    run_options: RunOptions,
    cluster_options: ClusterOptions,
    shard_rows: Annotated[
        int | None,
        declare.option(
            "Output", "--shard-rows", metavar="N", least=1, help="Maximum number of rows of a shard. (default: 8192)"
        ),
    ] = None,
    allow_mixed: AllowMixed = False,
    quiet: Annotated[bool, declare.option("Output", "--quiet", "-q", help=QUIET_HELP)] = False,
    progress: Annotated[
        bool,
        declare.option(
            "Output",
            "--progress/--no-progress",
            help="Show progress on stderr: a bar on a terminal, a line every ten seconds elsewhere.",
        ),
    ] = True,
) -> None:
    """Compute results for all rows of files, into a folder of parquet shards.

    Run the same command again to resume it: finished shards are kept, and the results have the same bytes as those of a
    job that was not interrupted. Several processes may work on one folder. Ctrl-C finishes the current shard, a second
    Ctrl-C stops at once. On a cluster, the folder and the inputs must have the same paths on all machines.

    Exit codes: 0 if all rows have results, 3 if rows failed, 130 after Ctrl-C.
    """
    _check_extra()
    task_named(computation.task, "--task")
    check_folder(model)
    recipe = _recipe(model, columns, computation, run_options)
    cluster = chosen_cluster(cluster_options)
    from millpond_jobs.cluster import run_on_cluster
    from millpond_jobs.job import run as run_job

    run_here = run_job if cluster is None else partial(run_on_cluster, *cluster)
    with stop_on_signals("Stopping after the current shard. Press Ctrl-C again to stop at once.") as stop:
        result = run_here(
            inputs,
            output,
            recipe,
            shard_rows=shard_rows,
            allow_duplicate_ids=columns.allow_duplicate_ids,
            allow_mixed=allow_mixed,
            expect_space=read_expected_space(expect_space),
            progress=progress and not quiet,
            stop=stop,
        )
    if not result.finished:
        echo_stderr(f"Stopped after {result.rows:,} rows. Run the same command to resume.")
        raise typer.Exit(INTERRUPTED)
    _report(result, quiet=quiet)


@declare.command(
    app,
    examples=("millpond job status out/", "millpond job status out/ --json"),
    short_help="Show the state of a job.",
)
def status(*, folder: Folder, as_json: AsJson = False) -> None:
    """Show rows, tokens per second, time left and workers of a job, from its files."""
    _check_extra()
    from millpond_jobs.progress import format_seconds
    from millpond_jobs.state import status as read_status

    state = read_status(folder)
    if as_json:
        echo(json.dumps(asdict(state) | {"finished": state.is_finished}, indent=2))
        return
    share = 100 * state.finished_rows / max(state.rows, 1)
    lines = {
        "model": f"{state.model}, task {state.task}",
        "rows": f"{state.finished_rows:,} of {state.rows:,} ({share:.1f}%)",
        "failed": f"{state.failed:,}; {state.truncated:,} truncated",
        "shards": f"{state.finished_shards:,} of {state.shards:,}; {state.running} in progress",
        "tokens": f"{state.tokens:,}"
        + ("" if state.tokens_per_s is None else f" ({state.tokens_per_s:,.0f} per second)"),
    }
    if state.eta_s is not None:
        lines["left"] = format_seconds(state.eta_s)
    elif not state.is_finished:
        lines["left"] = "no worker is running; resume with `millpond job run`"
    for name, text in lines.items():
        echo(f"{name:<8}{text}")


@declare.command(app, examples=("millpond job retry out/",), short_help="Compute failed rows again.")
def retry(*, folder: Folder, allow_mixed: AllowMixed = False, progress_options: ProgressOptions) -> None:
    """Compute the rows again that have no result, such as images that were missing."""
    _check_extra()
    from millpond_jobs.retrying import retry as retry_job

    result = retry_job(folder, allow_mixed=allow_mixed, progress=progress_options.shows_progress)
    _report(result, quiet=progress_options.quiet)


@declare.command(
    app,
    examples=("millpond job verify out/", "millpond job verify out/ --sample 0 --repair"),
    short_help="Check the results of a job.",
)
def verify(
    *,
    folder: Folder,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=0, help="Compute N rows again and compare; 0 for none.")
    ] = 32,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mark damaged shards as unfinished; the next run computes them.")
    ] = False,
    as_json: AsJson = False,
    progress_options: ProgressOptions,
) -> None:
    """Check hashes and row counts of all shards, and compute a sample of rows again.

    Exit codes: 0 if everything is correct, 1 otherwise.
    """
    _check_extra()
    from millpond_jobs.verification import verify as verify_job

    result = verify_job(folder, sample=sample, repair=repair, progress=progress_options.shows_progress)
    if as_json:
        echo(json.dumps(asdict(result) | {"ok": result.ok}, indent=2))
    else:
        for name, fault in result.damaged.items():
            echo(f"shard {name}: {fault}")
        for it in result.different:
            echo(f"row {it['row']} of {it['file']} (counted from 0): the result differs from a new computation")
        echo(
            f"{result.finished:,} of {result.shards:,} shards finished, {len(result.damaged):,} damaged; "
            f"{result.sampled:,} rows computed again, {result.equal:,} of them equal in all bits"
        )
    if not result.ok:
        if result.damaged:
            echo_stderr(
                "Run the job again to compute the damaged shards." if repair else "--repair marks them as unfinished."
            )
        raise typer.Exit(FAILURE)


@declare.command(app, examples=EXPORT_EXAMPLES, short_help="Export results to a file, an index or a database.")
def export(
    *,
    folder: Folder,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="KIND:LOCATION",
            help="npy:FILE, parquet:FILE, lance:FOLDER, faiss:FILE, qdrant:URL-OR-FOLDER or pgvector:CONNECTION.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The collection or table. (default: the name of the folder)"),
    ] = None,
    skip_failed: Annotated[bool, typer.Option("--skip-failed", help="Leave out rows without a result.")] = False,
    progress_options: ProgressOptions,
) -> None:
    """Export the results of a finished job."""
    _check_extra()
    from millpond_jobs.exports import export as export_job

    shown = progress_options.shows_progress
    rows = export_job(folder, to, name=name, skip_failed=skip_failed, progress=shown)
    if not progress_options.quiet:
        echo_stderr(f"Exported {rows:,} rows.")


def _check_extra() -> None:
    check_extra("millpond job", "jobs", ("filelock", "pyarrow"))


def _recipe(model: str, columns: Columns, computation: Computation, run_options: RunOptions) -> "Recipe":
    """Return the recipe of the options.

    Raises:
        CommandError: If one is invalid.
    """
    arguments = arguments_of(run_options)
    revision = arguments.pop("revision", None)
    from pydantic import ValidationError

    from millpond_recipes.recipe import Recipe

    fields: dict[str, Any] = asdict(columns) | asdict(computation)
    fields.pop("allow_duplicate_ids")
    options = _json_object("--task-options", fields.pop("task_options"))
    try:
        return Recipe(model=model, revision=revision, args=arguments, options=options, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][:1])
        message = f"{name}{first['msg'].removeprefix('Value error, ')}"
        raise CommandError(message, hint="`millpond job run --help` lists the options", exit_code=USAGE) from error


def _json_object(option: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        message = f"{option} is not JSON: {error}"
        raise CommandError(message, exit_code=USAGE) from error
    if not isinstance(value, dict):
        message = f"{option} must be a JSON object, such as '{{\"max_active_dims\": 256}}'"
        raise CommandError(message, exit_code=USAGE)
    return value


def _report(result: "JobResult", *, quiet: bool) -> None:
    """Print a summary, which --quiet hides if no row failed; exit with `PARTIAL` if rows failed."""
    if result.failed or not quiet:
        echo_stderr(_summary(result))
    if result.failed:
        raise typer.Exit(PARTIAL)


def _summary(result: "JobResult") -> str:
    truncated = f", {result.truncated:,} truncated" if result.truncated else ""
    line = f"{result.rows:,} rows, {result.tokens:,} tokens, {result.failed:,} failed{truncated}: {result.folder}"
    if not result.failed:
        return line
    listed = result.folder / "failed.jsonl"
    return f"{line}\n{listed} lists the failed rows; `millpond job retry` computes them again."
