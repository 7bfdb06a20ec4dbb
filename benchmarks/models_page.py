"""Writes docs/models.md: which models are served, by whom, and how far each is from its reference.

The rows are the registry's. The figures are measured on small random checkpoints, by what the tests hold models to;
without ``--measure`` those on the page are kept.
"""

import argparse
import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "models.md"
TESTS = REPOSITORY / "tests" / "builtin_models"
ROW = re.compile(r"^\| `(?P<name>\w+)` \|.*\| (?P<parity>[^|]+) \| (?P<int8>[^|]+) \|$", re.MULTILINE)
OWN = "own"
UNMEASURED = "?"


@dataclass(frozen=True)
class Figure:
    """What was measured of an architecture.

    Attributes:
        parity: The largest difference to the reference, in units of the largest value; "own" where the tests have a
            reference of their own.
        int8: Whether it computes in int8.
    """

    parity: str
    int8: str


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the figures anew")
    arguments = parser.parse_args()
    registry = _registry()
    written = read_figures(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    figures = dict(measured(registry)) if arguments.measure else written
    PAGE.write_text(render(registry, figures), encoding="utf-8")


def read_figures(page: str) -> dict[str, Figure]:
    """The figures that a page holds, by architecture."""
    return {row["name"]: Figure(row["parity"].strip(), row["int8"].strip()) for row in ROW.finditer(page)}


# --- the page ---------------------------------------------------------------------------------------------------------


def render(registry: Any, figures: Mapping[str, Figure]) -> str:
    """The page."""
    native = [entry.spec for entry in registry.architectures.entries()]
    fallbacks = [entry.spec for entry in registry.fallbacks.entries()]
    models = [entry.spec for entry in registry.published_models.entries()]
    names = {spec.name for spec in native}
    rows = [_row(spec.name, _tasks(spec), _published(spec.name, models), figures) for spec in native]
    return TEMPLATE.format(
        native="\n".join(rows),
        converters="\n".join(_converter(entry.spec) for entry in registry.converters.entries()),
        patterns="\n".join(
            f"- {_joined(f'`{pattern}`' for pattern in spec.patterns)}: {_joined(spec.tasks)}" for spec in fallbacks
        ),
        published=_joined(_of_family(model) for model in models if model.architecture not in names),
        others="\n".join(_row(name, tasks, "", figures) for name, tasks in standing_examples().items()),
    )


def standing_examples() -> dict[str, str]:
    """Architectures that the tests have run by the classes of transformers, and the tasks of each."""
    tests = tests_module("test_transformers")
    return {
        **dict.fromkeys(sorted(tests.MODELS), "embed, token_embed"),
        **dict.fromkeys(sorted(tests.CLASSIFIERS), "classify, token_classify"),
        **dict.fromkeys(sorted(tests.TOKEN_CLASSIFIERS), "token_classify"),
    }


def _row(name: str, tasks: str, published: str, figures: Mapping[str, Figure]) -> str:
    figure = figures.get(name, Figure(UNMEASURED, UNMEASURED))
    return f"| `{name}` | {tasks} | {published} | {figure.parity} | {figure.int8} |"


def _tasks(spec: Any) -> str:
    return _joined(spec.tasks) + ("" if "text" in spec.modalities and len(spec.modalities) == 1 else " of text, images")


def _published(architecture: str, models: Sequence[Any]) -> str:
    return _joined(_of_family(model) for model in models if model.architecture == architecture)


def _of_family(model: Any) -> str:
    name: str = model.name
    named = model.checkpoint_architecture
    return name.replace("*", "\\*") + (f" (`{named}`)" if named else "")


def _converter(spec: Any) -> str:
    named = " or ".join(name for name in spec.pooling if name)
    asked = f"{named} is the pooling type" if named else ""
    asked = ", or ".join(filter(None, ["no file names a pooling type" if "" in spec.pooling else "", asked]))
    asked = f", where {asked}" if asked else ""
    return f"| `{spec.name}` | {_joined(f'`{it}`' for it in spec.architectures)}{asked} | {_joined(spec.tasks)} |"


def _joined(names: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(names)


TEMPLATE = """# Models

<!-- Written by `make models`, from the registry and by measuring; a test holds it to both. -->

What Millpond serves: by code of its own, and by the classes of transformers where it has none. `millpond inspect MODEL`
says which of the two serves a model and why, without loading it; `--model-impl native` or `--model-impl transformers`
(`LLM(..., model_impl=...)`) asks for one.

A model is found by `architectures` in its config.json, in the layout in which it was published and in that which
transformers 5 writes. The published names are examples: whatever has the same architecture is served.

## Served natively

*parity* is the largest difference to transformers on a small random checkpoint in float32, prompts of 1 token to the
longest together in one batch, in units of the largest value; tests hold it below 1e-4. *own* stands where that does not
measure it, for transformers has no class that reads such files, or the model reads more than token ids: other tests
hold it to sentence-transformers, to transformers, or to a reference written from its description. *int8*: whether
`--quantization int8` serves it.

| architecture | tasks | published models | parity | int8 |
|---|---|---|---|---|
{native}

## With another head

The other names of a family are served by its backbone and a converter: `Qwen3ForSequenceClassification` is `Qwen3Model`
with `classify`. `--convert NAME` asks for one.

| converter | for | tasks |
|---|---|---|
{converters}

## Served by transformers

What has no row above is run by the class of transformers of that name: padded inside, in batches of nearly one length,
with the same poolers, heads and tasks. Code in a model's folder is never run, and int8 is not for these. Names of:

{patterns}

Published models that are served so are {published}. Measured as above:

| architecture | tasks | published models | parity | int8 |
|---|---|---|---|---|
{others}
"""


# --- the figures ------------------------------------------------------------------------------------------------------


def measured(registry: Any) -> Iterator[tuple[str, Figure]]:
    """The figures of all architectures, each measured here."""
    conformance = tests_module("test_conformance")
    library = importlib.import_module("transformers.utils.logging")
    library.disable_progress_bar()
    library.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        for entry in registry.architectures.entries():
            name = entry.spec.name
            held = getattr(conformance, f"Test{name}", None)
            if held is not None:
                yield name, measure(held(), Path(folder) / name)
                print(name, file=sys.stderr)
        for name in standing_examples():
            yield name, Figure(f"{standing_parity(name, Path(folder)):.0e}", "no")
            print(name, file=sys.stderr)


def measure(held: Any, folder: Path) -> Figure:
    """The figure of an architecture, by the class that its tests inherit."""
    worst, folder = 0.0, held.checkpoint(folder)
    with held.load(folder) as llm:
        prompts = held.prompts(llm)
        for task in held.tasks(llm):
            expected = held.reference(folder, prompts, task)
            if expected is not None:
                found = llm.encode(list(prompts), _bare(), pooling_task=task, use_tqdm=False)
                worst = max(worst, difference([output.outputs.array for output in found], expected))
    return Figure(f"{worst:.0e}" if worst else OWN, "yes" if _computes_in_int8(held, folder) else "no")


def standing_parity(name: str, folder: Path) -> float:
    """How far an architecture that transformers runs is from its class alone."""
    from millpond import LLM  # noqa: PLC0415  torch is not needed to check the page

    tests = tests_module("test_transformers")
    settings = {**tests.MODELS, **tests.CLASSIFIERS}.get(name, (None, tests.TOKEN_CLASSIFIERS.get(name)))[1]
    path, model = tests.write_random(name, folder, **settings)
    with LLM(str(path), num_workers=1) as llm:
        task = {"embed": "token_embed"}.get(llm.model_config.tasks[0], llm.model_config.tasks[0])
        prompts = tests.PROMPTS
        found = llm.encode(prompts, pooling_task=task, pooling_params=_bare(), use_tqdm=False)
        return difference([output.outputs.array for output in found], tests.alone(model, prompts))


def difference(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference, in units of the largest value that is expected."""
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(found, expected, strict=True)]
    return float(
        max(np.abs(one - other).max() for one, other in pairs) / max(np.abs(other).max() for _, other in pairs)
    )


def _computes_in_int8(held: Any, folder: Path) -> bool:
    from millpond.nn import Linear  # noqa: PLC0415  as above
    from millpond.types.errors import MillpondError  # noqa: PLC0415  as above

    try:
        with held.load(folder, quantization="int8") as llm:
            model = held.model(llm)
            inside = [it for name, it in model.named_modules() if isinstance(it, Linear)]
            return any("int8" in f"{it.kernel.__module__}.{it.kernel.__qualname__}" for it in inside)
    except MillpondError:
        return False


def _bare() -> Any:
    from millpond import PoolingParams  # noqa: PLC0415  as above

    return PoolingParams(use_activation=False)


def _registry() -> Any:
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  as above

    return PluginManager(ranks=("builtin",), disabled=()).registry


def tests_module(name: str) -> Any:
    """A module of the tests."""
    known = sys.modules.get(f"models_page_{name}")
    if known is not None:
        return known
    path = next(TESTS.rglob(f"{name}.py"))
    spec = importlib.util.spec_from_file_location(f"models_page_{name}", path)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
