"""``millpond tune``: measure which kernels, budget and workers serve a model best here, and keep it as a profile."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from millpond.cli import USAGE, CommandError, printable
from millpond_cli import options
from millpond_cli.arguments import ModelArguments

app = options.new_app()


def _option(*names: str, metavar: str | None = None, least: float | None = None, panel: str, help: str) -> Any:  # noqa: A002
    return typer.Option(*names, metavar=metavar, min=least, help=help, rich_help_panel=panel)


TunedModel = Annotated[str | None, typer.Argument(metavar="MODEL", help=options.MODEL_HELP, show_default=False)]
Seconds = Annotated[
    float,
    _option(
        "--seconds",
        metavar="SECONDS",
        least=0.1,
        panel="Measuring",
        help="About how long to measure; loading comes on top. With more time, more is tried.",
    ),
]
DryRun = Annotated[bool, _option("--dry-run", panel="Profile", help="Measure, and store nothing.")]
ProfilePath = Annotated[
    str | None,
    _option(
        "--output",
        "-o",
        metavar="FILE",
        panel="Profile",
        help="Store the profile in a file, for LLM(profile=FILE), instead of where it is found by itself.",
    ),
]
List = Annotated[bool, _option("--list", panel="Profile", help="List the profiles that are stored; measure nothing.")]
Forget = Annotated[bool, _option("--forget", panel="Profile", help="Remove the stored profile; measure nothing.")]


@app.command(cls=options.GroupedCommand)
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
    revision: options.Revision = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    hf_overrides: options.HfOverrides = None,
    convert: options.Convert = "auto",
    allow_pickle: options.AllowPickle = False,
    trust_remote_code: options.TrustRemoteCode = False,
    kernels: options.Kernels = None,
    quantization: options.Quantization = None,
    deterministic: options.Deterministic = False,
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
    arguments = ModelArguments(
        model=model,
        revision=revision,
        dtype=dtype,
        device=device,
        hf_overrides=hf_overrides,
        convert=convert,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        kernels=kernels,
        quantization=quantization,
        deterministic=deterministic,
    )
    read = arguments.read()
    from millpond_cli import profile_files as files  # noqa: PLC0415  needs pydantic; --help does not
    from millpond_cli.profiling import Bar, find_subject, measure  # noqa: PLC0415  needs torch
    from millpond_cli.tune_report import lines_of, record_of  # noqa: PLC0415  as above

    subject = find_subject(model, read)
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
