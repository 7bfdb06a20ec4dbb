"""``millpond verify``: compares a model with sentence-transformers or transformers, and writes a certificate."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from millpond_command import declare
from millpond_command.cli import FAILURE, USAGE, CommandError, echo
from millpond_command.extras import check_extra
from millpond_command.model_arguments import arguments_of
from millpond_command.model_options import ModelOptions, ProgressOptions

EXAMPLES = (
    "millpond verify all-MiniLM-L6-v2",
    "millpond verify BAAI/bge-m3 --dtype float32 --dtype bfloat16 --quantization int8 --output bge-m3.json",
    "millpond verify ./my-copy --reference sentence-transformers/all-MiniLM-L6-v2",
)
DTYPES = ("float32", "float", "bfloat16", "float16", "half")
DTYPE_NAMES = {"float": "float32", "half": "float16"}

app = declare.new_app()

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a Hugging Face Hub id, or package:NAME for a Python package.")
]


@dataclass(frozen=True, kw_only=True)
class RunOptions(ModelOptions):
    """Options of the runs of Millpond; ``dtype`` replaces that of ``ModelOptions``."""

    dtype: Annotated[
        list[str] | None,
        declare.option(
            "Runs", "--dtype", metavar="DTYPE", help="Compute in this dtype. Repeatable. (default: float32)"
        ),
    ] = None
    quantization: Annotated[
        list[str] | None,
        declare.option(
            "Runs",
            "--quantization",
            metavar="SCHEME",
            help="Also compute in float32 with this quantization, such as int8. Repeatable.",
        ),
    ] = None
    device: Annotated[
        str, declare.option("Runs", "--device", metavar="DEVICE", help="The device of both sides: cpu, cuda, or auto.")
    ] = "cpu"
    num_workers: Annotated[
        int,
        declare.option(
            "Runs",
            "--num-workers",
            metavar="N",
            least=1,
            help="The number of workers on a CPU. With more than one, the last digits of results may change.",
        ),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """Options of the comparison."""

    tolerance: Annotated[
        float | None,
        declare.option(
            "Comparison",
            "--tolerance",
            metavar="DISTANCE",
            least=0,
            help="The maximum cosine distance of a vector from the reference's. (default: 1e-07 in float32, 1e-05 in "
            "float16, 0.001 in bfloat16, 0.02 with int8)",
        ),
    ] = None
    reference: Annotated[
        str | None,
        declare.option(
            "Comparison", "--reference", metavar="MODEL", help="Load another model in the reference. (default: MODEL)"
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        declare.option(
            "Comparison",
            "--max-tokens",
            metavar="N",
            least=1,
            help="The maximum number of tokens of a text. (default: the model's maximum, at most 32768)",
        ),
    ] = None
    trust_remote_code: Annotated[
        bool,
        declare.option(
            "Comparison", "--trust-remote-code", help="Let the reference run Python code from the folder of the model."
        ),
    ] = False
    output: Annotated[
        str | None,
        declare.option("Output", "--output", "-o", metavar="FILE", help="Write the certificate, a JSON file."),
    ] = None
    as_json: Annotated[bool, declare.option("Output", "--json", help="Print the certificate instead of tables.")] = (
        False
    )


@declare.command(app, examples=EXAMPLES)
def verify(
    *, model: Model, run_options: RunOptions, comparison: ComparisonOptions, progress_options: ProgressOptions
) -> None:
    """Compare a model's results with those of its reference implementation.

    Computes 200 texts in 20 scripts, from 1 token to the maximum length, and images if the model embeds them, with
    Millpond and with sentence-transformers or transformers in float32. Exits with 1 if results, token ids or settings
    differ by more than the tolerance.
    """
    check_extra("millpond verify", "verify", ("sentence_transformers",))
    arguments = arguments_of(run_options)
    dtypes = _dtypes(arguments.pop("dtype", ()))
    quantizations = [*dict.fromkeys(arguments.pop("quantization", ()))]
    _check_output(comparison.output)
    from millpond_storage.files import write_json
    from millpond_verify.certificate import to_certificate
    from millpond_verify.report import text_of
    from millpond_verify.steps import Steps
    from millpond_verify.verification import Request, run_verification

    request = Request(
        model=model,
        device=arguments.pop("device"),
        num_workers=arguments.pop("num_workers"),
        arguments=arguments,
        dtypes=dtypes or ["float32"],
        quantizations=quantizations,
        tolerance=comparison.tolerance,
        reference_model=comparison.reference,
        max_tokens=comparison.max_tokens,
        trust_remote_code=comparison.trust_remote_code,
    )
    verification = run_verification(request, Steps(shown=progress_options.shows_progress))
    certificate = to_certificate(verification)
    if comparison.output is not None:
        write_json(Path(comparison.output), certificate)
    echo(json.dumps(certificate, ensure_ascii=False, indent=2) if comparison.as_json else text_of(verification))
    raise typer.Exit(0 if verification.passed else FAILURE)


def _dtypes(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in DTYPES]
    if unknown:
        message = f"Unknown dtype {unknown[0]!r}. Available: {', '.join(DTYPES)}"
        raise CommandError(message, exit_code=USAGE)
    return [*dict.fromkeys(DTYPE_NAMES.get(name, name) for name in names)]


def _check_output(path: str | None) -> None:
    """Check the path of the certificate before the comparison, which takes minutes."""
    if path is not None and not Path(path).resolve().parent.is_dir():
        message = f"--output {path}: the folder {Path(path).parent} does not exist"
        raise CommandError(message, exit_code=USAGE)
