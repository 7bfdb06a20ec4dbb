"""``millpond tune``: measure which kernels, budget and workers serve a model best here, and keep it as a profile."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from millpond import declare
from millpond.cli import USAGE, CommandError, printable
from millpond_cli import options
from millpond_cli.arguments import read

EXAMPLES = (
    "millpond tune BAAI/bge-small-en-v1.5",
    "millpond tune all-MiniLM-L6-v2 --quantization int8 --seconds 20 --dry-run",
    "millpond tune --list",
)

app = declare.new_app()


TunedModel = Annotated[str | None, typer.Argument(metavar="MODEL", help=options.MODEL_HELP, show_default=False)]
Seconds = Annotated[
    float,
    declare.option(
        "Measuring",
        "--seconds",
        metavar="SECONDS",
        least=0.1,
        help="About how long to measure; loading comes on top. With more time, more is tried.",
    ),
]
DryRun = Annotated[bool, declare.option("Profile", "--dry-run", help="Measure, and store nothing.")]
ProfilePath = Annotated[
    str | None,
    declare.option(
        "Profile",
        "--output",
        "-o",
        metavar="FILE",
        help="Store the profile in a file, for LLM(profile=FILE), instead of where it is found by itself.",
    ),
]
List = Annotated[bool, declare.option("Profile", "--list", help="List the profiles that are stored; measure nothing.")]
Forget = Annotated[bool, declare.option("Profile", "--forget", help="Remove the stored profile; measure nothing.")]


@declare.command(app, examples=EXAMPLES)
def tune(
    *,
    model: TunedModel = None,
    seconds: Seconds = 60,
    dry_run: DryRun = False,
    output_path: ProfilePath = None,
    list_: List = False,
    forget: Forget = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    tuning: options.Tuning,
) -> None:
    """Measure what serves a model best on this machine, and store it.

    Tried are the kernels of each op, how many tokens a batch may have, and how many workers there are: side by side
    with the defaults, in several rounds. What is faster by more than the rounds differ is stored as a profile, which
    LLM and the commands take from then on for models of this shape. A kernel that --kernel names is taken as it is.
    """
    _check(model, list_=list_, forget=forget, dry_run=dry_run, output_path=output_path)
    if model is None:
        _list(as_json=as_json)
        return
    arguments = read(tuning)
    from millpond_cli import profile_files as files  # noqa: PLC0415  needs pydantic; --help does not
    from millpond_cli.profiling import Bar, find_subject, measure  # noqa: PLC0415  needs torch
    from millpond_cli.tune_report import lines_of, record_of  # noqa: PLC0415  as above

    subject = find_subject(model, arguments)
    if forget:
        typer.echo(printable(files.forget(files.place_of(subject.key))))
        return
    path = None if dry_run else files.writable(Path(output_path) if output_path else files.place_of(subject.key))
    shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
    profile, found = measure(subject, seconds=seconds, bar=Bar(total=seconds, shown=shown))
    if path is not None:
        files.store(path, profile)
    if as_json:
        typer.echo(json.dumps(record_of(model, profile, found, path), indent=2))
    else:
        typer.echo(printable("\n".join(lines_of(profile, found, path))))


def _check(model: str | None, *, list_: bool, forget: bool, dry_run: bool, output_path: str | None) -> None:
    """Refuse options that contradict each other."""
    if list_ and (model is not None or forget):
        message = "--list shows all profiles that are stored, and takes neither MODEL nor --forget"
        raise CommandError(message, exit_code=USAGE)
    if not list_ and model is None:
        message = "there is no MODEL to tune"
        raise CommandError(message, hint="name one, or see with --list what is stored", exit_code=USAGE)
    if output_path is not None and (dry_run or forget):
        message = f"--output stores a profile, and {'--dry-run' if dry_run else '--forget'} stores none"
        raise CommandError(message, exit_code=USAGE)


def _list(*, as_json: bool) -> None:
    from millpond_cli import profile_files as files  # noqa: PLC0415  needs pydantic; --help does not

    records = files.records()
    typer.echo(json.dumps(records, indent=2) if as_json else printable("\n".join(files.lines_of(records))))
