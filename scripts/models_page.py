"""Write docs/models.md, the list of supported models: python scripts/models_page.py [--measure].

The rows come from the registry. ``--measure`` compares each model with the reference of its tests, on small random
checkpoints; otherwise the figures on the page are kept.
"""

import argparse
import importlib
import importlib.util
import json
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
CERTIFICATES = REPOSITORY / "docs" / "certificates"
TESTS = REPOSITORY / "tests" / "builtin_models"
SUPPORT = [str(REPOSITORY / "tests" / folder) for folder in ("support", "support/models")]
ROW = re.compile(r"^\| `(?P<name>\w+)` \|.*\| (?P<parity>[^|]+) \| (?P<int8>[^|]+) \|$", re.MULTILINE)
TESTED_SEPARATELY = "separate"
UNMEASURED = "?"


@dataclass(frozen=True)
class Figure:
    """The measured properties of an architecture.

    Attributes:
        parity: The maximum difference from the reference, relative to the largest value; "separate" if other tests
            compare the architecture with another reference.
        int8: "yes" if the architecture can be computed in int8, otherwise "no".
    """

    parity: str
    int8: str


def main() -> None:
    """Write the page, with new figures if requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the figures again")
    arguments = parser.parse_args()
    registry = _registry()
    written = read_figures(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    figures = dict(measured(registry)) if arguments.measure else written
    PAGE.write_text(render(registry, figures), encoding="utf-8")


def read_figures(page: str) -> dict[str, Figure]:
    """Return the figures on a page, by architecture."""
    return {row["name"]: Figure(row["parity"].strip(), row["int8"].strip()) for row in ROW.finditer(page)}


# --- The page ---------------------------------------------------------------------------------------------------------


def render(registry: Any, figures: Mapping[str, Figure]) -> str:
    """Return the text of the page."""
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
        published=_joined(_published_name(model) for model in models if model.architecture not in names),
        others="\n".join(_row(name, tasks, "", figures) for name, tasks in fallback_examples().items()),
        certificates="\n".join(map(_certificate, sorted(CERTIFICATES.glob("*.json")))),
    )


def fallback_examples() -> dict[str, str]:
    """Return the architectures that the tests run with classes of transformers, and the tasks of each."""
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
    return _joined(_published_name(model) for model in models if model.architecture == architecture)


def _published_name(model: Any) -> str:
    name: str = model.name
    architecture = model.checkpoint_architecture
    return name.replace("*", "\\*") + (f" (`{architecture}`)" if architecture else "")


def _converter(spec: Any) -> str:
    types = " or ".join(name for name in spec.pooling if name)
    conditions = ["no file names a pooling type"] if "" in spec.pooling else []
    conditions += [f"the pooling type is {types}"] if types else []
    condition = f", if {' or '.join(conditions)}" if conditions else ""
    return f"| `{spec.name}` | {_joined(f'`{it}`' for it in spec.architectures)}{condition} | {_joined(spec.tasks)} |"


def _certificate(path: Path) -> str:
    content = json.loads(path.read_text(encoding="utf-8"))
    runs = [(run["quantization"] or run["dtype"], run["parts"][0]["max_cosine_distance"]) for run in content["runs"]]
    distances = _joined([f"{distance:.0e} ({name})" for name, distance in runs])
    reference, processor = content["reference"]["name"], content["machine"]["processor"]
    return f"| [{content['model']}](certificates/{path.name}) | {reference} | {distances} | {processor} |"


def _joined(names: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(names)


TEMPLATE = """# Models

<!-- Generated by `make models` from the registry and from measurements; tests compare the page with both. -->

This page lists the supported architectures. Millpond has its own implementations of many architectures and runs others
with the classes of transformers. `millpond inspect MODEL` shows which implementation is used for a model and why,
without loading the model. `--model-impl native` or `--model-impl transformers` (`LLM(..., model_impl=...)`) selects
one.

The architecture is read from `architectures` in config.json. Both the published layout of a checkpoint and the layout
that transformers 5 writes are supported. The published models in the tables are examples: every model with one of these
architectures works. In their names, `*` matches any text. An architecture in parentheses is the one in the model's
config.json, if it is not the one in the first column.

## Native implementations

- *parity*: the maximum difference from transformers in float32, relative to the largest value. It is measured on a
  small checkpoint with random weights, with prompts from 1 token to the maximum length in one batch. Tests require it
  to be below 1e-4. *separate* means that transformers has no class for these files, or that the model has inputs
  other than token ids. Separate tests compare these models with sentence-transformers, with transformers, or with a
  reference implementation written from the model's description.
- *int8*: support for `--quantization int8`.

| architecture | tasks | published models | parity | int8 |
|---|---|---|---|---|
{native}

## Converters

The other architectures of a family use its backbone and a converter: `Qwen3ForSequenceClassification` is
`Qwen3Model` with the converter `classify`. `--convert NAME` selects a converter.

| converter | architectures | tasks |
|---|---|---|
{converters}

## Implementations of transformers

Architectures that are not listed above run with the class of that name in transformers, and with Millpond's poolers,
heads and tasks. Texts of similar length share a batch, which is padded internally. Code in a model's folder is never
run, and int8 is not supported. These names are recognized:

{patterns}

Published models that use this: {published}.

Parity, measured as above:

| architecture | tasks | published models | parity | int8 |
|---|---|---|---|---|
{others}

## Certificates

A certificate of [`millpond verify`](how-to/verify-a-model.md) compares a model with its reference on 200 texts in 20
scripts, and contains the hashes of its files. Run the command to create one for your model and machine.

| certificate | reference | maximum cosine distance | processor |
|---|---|---|---|
{certificates}
"""


# --- The figures ------------------------------------------------------------------------------------------------------


def measured(registry: Any) -> Iterator[tuple[str, Figure]]:
    """Measure all architectures, and yield the figures of each."""
    conformance = tests_module("test_conformance")
    library = importlib.import_module("transformers.utils.logging")
    library.disable_progress_bar()
    library.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        for entry in registry.architectures.entries():
            name = entry.spec.name
            suite = getattr(conformance, f"Test{name}", None)
            if suite is not None:
                yield name, measure(suite(), Path(folder) / name)
                print(name, file=sys.stderr)
        for name in fallback_examples():
            yield name, Figure(f"{fallback_parity(name, Path(folder)):.0e}", "no")
            print(name, file=sys.stderr)


def measure(suite: Any, folder: Path) -> Figure:
    """Measure an architecture with the conformance class of its tests."""
    worst, folder = 0.0, suite.checkpoint(folder)
    with suite.load(folder) as llm:
        prompts = suite.prompts(llm)
        for task in suite.tasks(llm):
            expected = suite.reference(folder, prompts, task)
            if expected is not None:
                outputs = llm.encode(list(prompts), _without_activation(), pooling_task=task, use_tqdm=False)
                worst = max(worst, difference([output.outputs.array for output in outputs], expected))
    parity = f"{worst:.0e}" if worst else TESTED_SEPARATELY
    return Figure(parity, "yes" if _computes_in_int8(suite, folder) else "no")


def fallback_parity(name: str, folder: Path) -> float:
    """Return the difference between an architecture run with transformers and its class alone."""
    from millpond import LLM  # noqa: PLC0415  torch is not needed to check the page

    tests, kit = tests_module("test_transformers"), importlib.import_module("fallback_kit")
    settings = {**tests.MODELS, **tests.CLASSIFIERS}.get(name, (None, tests.TOKEN_CLASSIFIERS.get(name)))[1]
    path, model = kit.write_random(name, folder, **settings)
    with LLM(str(path), num_workers=1) as llm:
        task = {"embed": "token_embed"}.get(llm.model_config.tasks[0], llm.model_config.tasks[0])
        prompts = kit.PROMPTS
        outputs = llm.encode(prompts, pooling_task=task, pooling_params=_without_activation(), use_tqdm=False)
        return difference([output.outputs.array for output in outputs], kit.alone(model, prompts))


def difference(actual: Sequence[Any], expected: Sequence[Any]) -> float:
    """Return the maximum difference, relative to the largest expected value."""
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(actual, expected, strict=True)]
    return float(
        max(np.abs(one - other).max() for one, other in pairs) / max(np.abs(other).max() for _, other in pairs)
    )


def _computes_in_int8(suite: Any, folder: Path) -> bool:
    from millpond.nn import Linear  # noqa: PLC0415  as above
    from millpond.types.errors import MillpondError  # noqa: PLC0415  as above

    try:
        with suite.load(folder, quantization="int8") as llm:
            maps = [it for it in suite.model(llm).modules() if isinstance(it, Linear)]
            return any("int8" in f"{it.kernel.__module__}.{it.kernel.__qualname__}" for it in maps)
    except MillpondError:
        return False


def _without_activation() -> Any:
    from millpond import PoolingParams  # noqa: PLC0415  as above

    return PoolingParams(use_activation=False)


def _registry() -> Any:
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  as above

    return PluginManager(ranks=("builtin",), disabled=()).registry


def tests_module(name: str) -> Any:
    """Import a module of the tests, which may import those of tests/support."""
    sys.path += [folder for folder in SUPPORT if folder not in sys.path]
    imported = sys.modules.get(f"models_page_{name}")
    if imported is not None:
        return imported
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
