"""``millpond run-batch``: runs a file of HTTP requests in OpenAI's batch format, without a server."""

from pathlib import Path
from typing import Annotated

import typer

from millpond_command import declare
from millpond_command.cli import PARTIAL, CommandError, echo_stderr
from millpond_command.extras import check_extra
from millpond_command.model_arguments import arguments_of, check_folder
from millpond_command.model_options import ProgressOptions, RunOptions
from millpond_server.command.settings import REQUIRED_MODULES

EXAMPLES = (
    "millpond run-batch -i requests.jsonl -o results.jsonl -m BAAI/bge-small-en-v1.5",
    "millpond run-batch -i requests.jsonl -o results.jsonl -m BAAI/bge-m3 --served-model-name bge",
)
app = declare.new_app()


@declare.command(app, "run-batch", examples=EXAMPLES)
def run_batch(
    *,
    input_file: Annotated[
        str, declare.option("Input", "--input-file", "-i", metavar="FILE", help="JSONL file with one request per line.")
    ],
    output_file: Annotated[
        str, declare.option("Output", "--output-file", "-o", metavar="FILE", help="JSONL file for the results.")
    ],
    model: Annotated[
        str, declare.option("Model", "--model", "-m", metavar="MODEL", help="A folder, a hub id, or SOURCE:NAME.")
    ],
    served_model_name: Annotated[
        str | None,
        declare.option(
            "Model", "--served-model-name", metavar="NAME", help="Name of the model in requests. (default: --model)"
        ),
    ] = None,
    concurrency: Annotated[
        int, declare.option("Computing", "--concurrency", metavar="N", least=1, help="Requests that run at once.")
    ] = 64,
    run_options: RunOptions,
    progress_options: ProgressOptions,
) -> None:
    """Run a file of HTTP requests in OpenAI's batch format, and write their responses in the same order.

    Each line is an object with custom_id, method (POST), url (a path of `millpond serve`) and body. Wrong lines and
    failed requests have an error in the output.

    Exit codes: 0 if all requests succeeded, 3 if some failed.
    """
    check_extra("millpond run-batch", "serve", REQUIRED_MODULES)
    check_folder(model)
    source, target = Path(input_file), Path(output_file)
    check_paths(source, target)
    arguments = arguments_of(run_options)
    from millpond_server.command.batch_file import run_file  # noqa: PLC0415  imports torch, after all checks

    name, shown = served_model_name or model, progress_options.shows_progress
    total, failed = run_file(source, target, model, name, arguments, concurrency=concurrency, progress=shown)
    if failed or not progress_options.quiet:
        echo_stderr(f"{total:,} requests, {failed:,} failed: {output_file}")
    if failed:
        raise typer.Exit(PARTIAL)


def check_paths(source: Path, target: Path) -> None:
    """Check the files before the model is loaded.

    Raises:
        CommandError: If the input does not exist, or the output is the input, a folder, or in no folder.
    """
    if not source.exists():
        message = f"{source}: no such file"
        raise CommandError(message)
    if source.is_dir() or target.is_dir():
        message = f"{source if source.is_dir() else target} is a folder: pass a file"
        raise CommandError(message)
    if not target.parent.is_dir():
        message = f"{target}: the folder {target.parent} does not exist"
        raise CommandError(message)
    if target.exists() and target.samefile(source):
        message = f"{target} is also the input: pass a different file as --output-file"
        raise CommandError(message)
