"""The options of the commands that use a model, each declared once: its names, its help, its heading."""

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from millpond.cli import QuickGroup

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class GroupedCommand(TyperCommand):
    """A command whose help shows its options under headings, without Rich: that takes as long as all the rest."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options, each under the heading of its panel."""
        panels: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                panels.setdefault("Arguments", []).append((record[0].partition(" <")[0], record[1]))
            else:
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for heading, records in panels.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def new_app() -> typer.Typer:
    """An app for one command, or for a group of them."""
    return typer.Typer(cls=QuickGroup, rich_markup_mode=None, add_completion=False, no_args_is_help=True)


def _option(panel: str, *names: str, metavar: str | None = None, least: int | None = None, help: str) -> Any:  # noqa: A002
    return typer.Option(*names, metavar=metavar, min=least, help=help, rich_help_panel=panel)


# --- input ------------------------------------------------------------------------------------------------------------

Texts = Annotated[
    list[str] | None, typer.Argument(metavar="TEXT", help="The texts; none, or - alone, for the lines of stdin.")
]
InputPath = Annotated[
    str | None,
    _option("Input", "--input", "-i", metavar="FILE", help="Read a .txt, .jsonl or .csv file; - for stdin."),
]
InputFormat = Annotated[
    str | None,
    _option(
        "Input",
        "--input-format",
        metavar="FORMAT",
        help="txt, jsonl or csv, where the name of the file does not say it. Stdin is txt if unset.",
    ),
]
TextKey = Annotated[
    str | None,
    _option("Input", "--text-key", metavar="KEY", help="The JSON field or CSV column of the text; text if unset."),
]
IdKey = Annotated[
    str | None,
    _option(
        "Input",
        "--id-key",
        metavar="KEY",
        help="The JSON field or CSV column of an id to keep; id, where there is one, if unset.",
    ),
]
OnError = Annotated[
    str,
    _option(
        "Input",
        "--on-error",
        metavar="ACTION",
        help="raise: stop at the first text that fails; skip: tell it on stderr, go on, and exit with 3.",
    ),
]

# --- output -----------------------------------------------------------------------------------------------------------

OutputPath = Annotated[
    str | None,
    _option("Output", "--output", "-o", metavar="FILE", help="Write a file, whole or not at all; stdout if unset."),
]
Format = Annotated[
    str | None,
    _option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="jsonl, json, csv, npy, or npz for token_embed. If unset, by the name of the file; else jsonl.",
    ),
]
WithText = Annotated[bool, _option("Output", "--with-text", help="Write each text beside its vector.")]
AsJson = Annotated[bool, _option("Output", "--json", help="Print JSON.")]
Quiet = Annotated[bool, _option("Output", "--quiet", "-q", help="No progress bar and no notes; errors alone.")]
ShowProgress = Annotated[
    bool | None,
    _option("Output", "--progress/--no-progress", help="Show a progress bar on stderr; on a terminal if unset."),
]

# --- model ------------------------------------------------------------------------------------------------------------

MODEL_HELP = "A folder, a Hugging Face Hub id, or package:NAME for one that a Python package carries."
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
ModelOption = Annotated[str, _option("Model", "--model", "-m", metavar="MODEL", help=MODEL_HELP)]
Revision = Annotated[
    str | None, _option("Model", "--revision", metavar="REV", help="The branch, tag or commit on the hub.")
]
Dtype = Annotated[
    str,
    _option(
        "Model",
        "--dtype",
        metavar="DTYPE",
        help="auto, float32, bfloat16 or float16. auto keeps the checkpoint's where the device computes in it.",
    ),
]
Device = Annotated[str, _option("Model", "--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")]
MaxModelLen = Annotated[
    int | None,
    _option(
        "Model",
        "--max-model-len",
        metavar="N",
        least=1,
        help="The most tokens of a text, if not the model's own number.",
    ),
]
HfOverrides = Annotated[
    str | None,
    _option("Model", "--hf-overrides", metavar="JSON", help="An object that replaces parts of config.json."),
]
Convert = Annotated[
    str,
    _option(
        "Model",
        "--convert",
        metavar="NAME",
        help="The converter that makes a pooling model of another; auto chooses, none forbids.",
    ),
]
AllowPickle = Annotated[
    bool, _option("Model", "--allow-pickle", help="Read weights that are pickles, with weights_only=True.")
]
TrustRemoteCode = Annotated[
    bool,
    _option("Model", "--trust-remote-code", help="Let code in the model's folder run; native models need none."),
]
Kernels = Annotated[
    list[str] | None,
    _option(
        "Model",
        "--kernel",
        metavar="OP=VARIANT",
        help="The implementation of an op, such as attention=sdpa. May be given several times.",
    ),
]
Quantization = Annotated[
    str | None,
    _option(
        "Model",
        "--quantization",
        metavar="SCHEME",
        help="int8 computes in 8-bit integers: about twice as fast, and close to the same.",
    ),
]
Deterministic = Annotated[
    bool,
    _option("Model", "--deterministic", help="Give each text the same bits, whatever it is computed together with."),
]
BatchTokens = Annotated[
    int | None, _option("Model", "--batch-tokens", metavar="N", least=1, help="The most tokens of a batch.")
]

# --- pooling ----------------------------------------------------------------------------------------------------------

Task = Annotated[
    str,
    _option(
        "Pooling",
        "--pooling-task",
        "--task",
        metavar="TASK",
        help="embed for one vector a text, token_embed for one a token.",
    ),
]
Truncate = Annotated[
    bool, _option("Pooling", "--truncate/--no-truncate", help="Cut a text that is too long, instead of failing on it.")
]
Dimensions = Annotated[
    int | None,
    _option(
        "Pooling",
        "--dimensions",
        metavar="N",
        least=1,
        help="Keep N dimensions, of models trained for it (Matryoshka).",
    ),
]
Normalize = Annotated[
    bool | None,
    _option("Pooling", "--normalize/--no-normalize", help="Bring vectors to length 1; as the model says if unset."),
]
PoolerConfigJson = Annotated[
    str | None,
    _option(
        "Pooling",
        "--pooler-config",
        metavar="JSON",
        help='How hidden states become the result, such as {"pooling_type": "CLS"}.',
    ),
]
