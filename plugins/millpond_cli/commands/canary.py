"""``millpond canary``: keeps texts with their vectors beside an index, and checks that a model still answers them.

The id of a space shows that the files and settings are the same; a canary shows that the numbers are. Each text is
computed alone, so that its bits do not depend on a batch.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millpond.types.errors import SpaceMismatchError
from millpond_cli import options
from millpond_cli.arguments import load_model
from millpond_command import declare
from millpond_command.cli import FAILURE, USAGE, CommandError, echo
from millpond_command.model_options import MODEL_HELP, RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond.llm import LLM

FORMAT = 1
FOLDER_NAME, FILE_SUFFIX = "canary.json", ".canary.json"
MIN_COSINE = 0.99  # other dtypes and int8 are above it, other weights, prompts and pooling types usually below
TEXTS: tuple[tuple[str, str], ...] = (
    ("query", "mill"),
    ("query", "How long does it take to dry tea leaves in the sun?"),
    ("query", "Wie hoch war der Preis für 12,5 kg Äpfel am 3. März 2021?"),
    ("query", "错误代码 404 是什么意思"),
    (
        "document",
        "The old mill by the river was built in 1786. It ground wheat, and is a museum today.",
    ),
    ("document", "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)  # ZeroDivisionError"),
    ("document", "البريد: info@example.org · https://example.org/a?b=c · +49 30 123456 🙂"),
    ("document", "Rain fell on the hills, the valleys, the roads and the roofs; by noon the river was high. " * 3),
)
"""The texts, each with its input type. A change of them is a change of ``FORMAT``."""

app = declare.new_app()

OptionalModel = Annotated[
    str | None, declare.option("Model", "--model", "-m", metavar="MODEL", help=f"{MODEL_HELP} (default: the canary's)")
]
Place = Annotated[
    str,
    typer.Argument(
        metavar="INDEX",
        help="The canary, a .json file; or an index: canary.json in a folder, NAME.canary.json beside a file.",
        show_default=False,
    ),
]


@app.callback()
def canary() -> None:
    """Keep texts with their vectors beside an index, and check that a model still answers them."""


@declare.command(
    app,
    examples=("millpond canary write vectors.npy -m BAAI/bge-m3", "millpond canary write index/ -m ./model"),
    short_help="Write a canary beside an index.",
)
def write(*, index: Place, model: options.ModelOption, run_options: RunOptions) -> None:
    """Compute eight fixed texts, and write their vectors with the descriptor of the model's space.

    Four texts are queries and four are documents: each is computed alone, with the model's prompt for it.
    """
    path = _path_of(index)
    if path.exists():
        raise CommandError(f"{path} exists", hint="it describes an existing index: remove it only with the index")
    with load_model(model, run_options) as llm:
        content: dict[str, Any] = {
            "format": FORMAT,
            "model": model,
            "space": llm.space.descriptor,
            "computation": _computation(llm),
            "vectors": [vector.tolist() for vector in _vectors(llm)],
        }
    from millpond_storage.files import write_json  # noqa: PLC0415  not needed by --help

    write_json(path, content)
    echo(f"{path}: {len(TEXTS)} texts, space {content['space']['space_id']}")


@declare.command(
    app,
    examples=("millpond canary check vectors.npy", "millpond canary check index/ -m ./new-model --json"),
    short_help="Check that a model still answers a canary.",
)
def check(
    *,
    index: Place,
    model: OptionalModel = None,
    min_cosine: Annotated[
        float,
        declare.option("Check", "--min-cosine", metavar="COSINE", help="The smallest cosine that is the same answer."),
    ] = MIN_COSINE,
    as_json: options.AsJson = False,
    run_options: RunOptions,
) -> None:
    """Compute the texts of a canary again and compare their vectors, in bits and by cosine.

    Also states how the space and the computation differ. Exits with 1 if the smallest cosine is below --min-cosine, or
    vectors have other shapes. The default accepts other dtypes and int8. Without --model, the model that wrote the
    canary is loaded.
    """
    canary = _read(_path_of(index))
    with load_model(model or str(canary["model"]), run_options) as llm:
        pairs = [*zip(canary["vectors"], _vectors(llm), strict=True)]
        differences = [*_differences(canary, llm)]
    equal = sum(before.shape == now.shape and before.tobytes() == now.tobytes() for before, now in pairs)
    cosines = [_cosine(before, now) for before, now in pairs]
    smallest = min(cosines)
    is_same = smallest >= min_cosine
    if as_json:
        values = {"same": is_same, "equal": equal, "cosines": cosines, "differences": differences}
        echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        echo(f"bits    {equal} of {len(pairs)} vectors are equal in all bits")
        echo(f"cosine  at least {smallest:.6f}, for text {cosines.index(smallest) + 1}")
        for difference in differences or ["none in files and settings"]:
            echo(f"change  {difference}")
        echo("The model still answers the canary." if is_same else f"The answers differ: below {min_cosine}.")
    raise typer.Exit(0 if is_same else FAILURE)


def _path_of(index: str) -> Path:
    path = Path(index)
    if path.is_dir():
        return path / FOLDER_NAME
    return path if path.suffix == ".json" else path.with_suffix(FILE_SUFFIX)


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a canary, with arrays as vectors.

    Raises:
        CommandError: If it cannot be read, or has another format.
    """
    import numpy as np  # noqa: PLC0415  not needed by --help

    from millpond_storage.files import read_json  # noqa: PLC0415  as above

    try:
        content: dict[str, Any] = read_json(path)
        vectors = [np.array(it, np.float32) for it in content["vectors"]]
        is_canary = content["format"] == FORMAT and {"model", "space", "computation"} <= content.keys()
    except (OSError, ValueError, TypeError, KeyError) as error:
        hint = "`millpond canary write` creates it"
        raise CommandError(f"cannot read the canary {path}: {error}", hint=hint, exit_code=USAGE) from error
    if not is_canary or len(vectors) != len(TEXTS):
        raise CommandError(f"{path} is not a canary of format {FORMAT}", exit_code=USAGE)
    return {**content, "vectors": vectors}


def _vectors(llm: "LLM") -> "Iterator[NDArray[np.float32]]":
    """Yield the vector of each text, or its vectors of tokens."""
    from millpond.pipeline.cache import bypass_cache  # noqa: PLC0415  not needed by --help
    from millpond.types.prompts import PROMPT_NAMES  # noqa: PLC0415  as above

    config = llm.model_config
    names = {name for names in PROMPT_NAMES.values() for name in names}
    has_types = config.retrieval.has_input_types or not names.isdisjoint(config.prompting.prompts)
    token = bypass_cache.set(True)
    try:
        for input_type, text in TEXTS:
            typed: dict[str, Any] = {"input_type": input_type} if has_types else {}
            (output,) = llm.embed([text], truncate_prompt_tokens=-1, use_tqdm=False, **typed)
            yield output.outputs.array
    finally:
        bypass_cache.reset(token)


def _computation(llm: "LLM") -> dict[str, str | None]:
    """Return what may change bits besides the space."""
    from millpond import __version__  # noqa: PLC0415  not needed by --help

    context = llm.pipeline.ctx
    names = {"dtype": str(llm.model_config.dtype), "quantization": context.compute.quantization}
    return {"version of Millpond": __version__, "device": str(context.device), **names}


def _differences(canary: Mapping[str, Any], llm: "LLM") -> Iterator[str]:
    """Yield the differences of the space and of the computation, in words."""
    try:
        llm.space.require(canary["space"])
    except SpaceMismatchError as error:
        yield str(error)
    before = canary["computation"]
    for name, now in _computation(llm).items():
        if now != before.get(name):
            yield f"the {name} differs: {now or 'none'} here, {before.get(name) or 'none'} there"


def _cosine(before: "NDArray[np.float32]", now: "NDArray[np.float32]") -> float:
    """Return the cosine of two vectors, the smallest one of several; -1 for other shapes, 1 for equal numbers."""
    import numpy as np  # noqa: PLC0415  as above

    if before.shape != now.shape:
        return -1.0
    if np.array_equal(before, now):  # else rounding could change their cosine
        return 1.0
    one, other = (np.atleast_2d(it).astype(np.float64) for it in (before, now))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = np.where(norms > 0, (one * other).sum(1) / np.maximum(norms, np.finfo(np.float64).tiny), 1.0)
    return float(cosines.min(initial=1.0))
