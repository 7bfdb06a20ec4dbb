"""docs/ keeps up with the code: every public name, argument, field, error and variable is told; every link leads."""

import importlib.util
import inspect
import json
import re
import sys
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

import millpond
from millpond import (
    LLM,
    AsyncLLM,
    EmbeddingOutput,
    EngineConfig,
    IOProcessor,
    PoolerConfig,
    PoolingOutput,
    PoolingParams,
    PoolingRequestOutput,
    nn,
)
from millpond.compat import vllm
from millpond.context import ModelContext, PoolerContext, TaskContext
from millpond.loading import arguments
from millpond.pipeline.call import Options
from millpond.plugin.manager import PluginManager
from millpond.testing import checkpoints, fixtures
from millpond.types import errors

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
REFERENCE = DOCS / "reference"
ROOMS = ("core", "builtin_models", "builtin_poolers", "io_processors", "kernels", "plugins")
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCED = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^#+ (.+)$", re.MULTILINE)


def prose(page):
    """A page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def section(name, heading):
    """What stands on a page of the reference under a heading, up to the next one."""
    _, found, rest = prose(REFERENCE / f"{name}.md").partition(f"\n{heading}\n")
    assert found, f"{name}.md has no heading {heading!r}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text):
    """The tables in a text, each a list of rows without its head, each a list of cells."""
    blocks = [block.splitlines() for block in re.split(r"\n{2,}", text.strip("\n")) if block.startswith("|")]
    return [[line.strip("| ").split(" | ") for line in lines[2:]] for lines in blocks]


def rows(text):
    """The rows of all tables in a text."""
    return [cells for table in tables(text) for cells in table]


def names(table):
    """The names in the first column of a table, what is called without its arguments."""
    return {name for cells in table for name in re.findall(r"`(?:\w+\.)*(\w+)[^`]*`", cells[0])}


def spelled(value):
    return "required" if value is MISSING or value is inspect.Parameter.empty else f"`{value!r}`".replace("'", '"')


def parameters(function):
    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = [it for it in inspect.signature(function).parameters.values() if it.kind not in skipped]
    return [(f"`{it.name}`", spelled(it.default)) for it in found if it.name != "self"]


def attributes(kind):
    """The public names that a class itself defines, its fields included."""
    own = {name for name in vars(kind) if not name.startswith("_")}
    return own | set(getattr(kind, "__annotations__", ())) | set(getattr(kind, "__dataclass_fields__", ()))


def first_two(text):
    return [tuple(cells[:2]) for cells in rows(text)]


# --- reference/llm.md -------------------------------------------------------------------------------------------------


METHODS = ("embed", "embed_sparse", "embed_chunks", "classify", "score", "reward", "represent", "encode")


@pytest.mark.parametrize(
    ("heading", "function"),
    [("## LLM", LLM.__init__), *((f"## LLM.{name}", getattr(LLM, name)) for name in METHODS)],
)
def test_arguments_of_llm_are_told_with_their_defaults(heading, function):
    assert first_two(section("llm", heading)) == parameters(function)


def test_attributes_and_methods_of_llm_are_told():
    told = names(rows(section("llm", "### Attributes and other methods")))
    set_at_start = {"engine_config", "pipeline"}
    assert told == {name for name in dir(LLM) if not name.startswith("_")} - {*METHODS} | set_at_start


def test_options_of_every_call_are_told():
    told = first_two(section("llm", "## Options of every call"))
    assert [name for name, _ in told] == [f"`{name}`" for name in Options.__annotations__]


def test_methods_of_async_llm_are_told():
    told = section("llm", "## AsyncLLM")
    public = {name for name in dir(AsyncLLM) if not name.startswith("_")}
    assert {name for name in public if f"`{name}`" not in told and f"`await {name}(" not in told} == set()


@pytest.mark.parametrize("method", METHODS)
def test_async_methods_take_what_is_said(method):
    sync, awaited = dict(parameters(getattr(LLM, method))), dict(parameters(getattr(AsyncLLM, method)))
    assert awaited == {
        **{name: default for name, default in sync.items() if name != "`use_tqdm`"},
        "`priority`": "`0`",
    }


@pytest.mark.parametrize(
    ("page", "heading", "model"),
    [
        ("llm", "## EngineConfig", EngineConfig),
        ("pooling", "## PoolingParams", PoolingParams),
        ("pooling", "## PoolerConfig", PoolerConfig),
    ],
)
def test_fields_are_told_with_their_defaults(page, heading, model):
    expected = [(f"`{name}`", spelled(field.default)) for name, field in model.model_fields.items()]
    assert first_two(section(page, heading)) == expected


def test_arguments_of_vllm_are_told():
    told = section("llm", "## vLLM's arguments")
    by_name = set(re.findall(r'\bname == "(\w+)"', inspect.getsource(arguments)))
    taken = set(arguments.DEFAULTS) - set(inspect.signature(LLM).parameters) - set(EngineConfig.model_fields)
    assert names(rows(told)) == by_name | taken | set(vllm.RENAMED)


def test_arguments_of_vllm_that_are_refused_or_have_no_effect_are_told():
    of_engine = [argument for argument in vllm.ARGUMENTS.values() if argument.takes != "server"]
    refused = rows(section("llm", "### Refused arguments"))
    told = {name: cells[2] for cells in refused for name in re.findall(r"`(\w+)`", cells[0])}
    assert told == {argument.name: argument.reason for argument in of_engine if argument.neutral is not None}
    ignored = re.findall(r"`(\w+)`", section("llm", "### Arguments without effect"))
    assert ignored == [argument.name for argument in of_engine if argument.neutral is None]


# --- reference/pooling.md ---------------------------------------------------------------------------------------------


def test_poolers_and_activations_are_told(registry):
    types = {re.sub("`", "", cells[0]): cells[2] for cells in rows(section("pooling", "## Pooling types"))}
    served = {name: registry.poolers.get(name).spec.tasks for name in registry.poolers.names()}
    assert set(types) == set(served)
    for name, tasks in types.items():
        assert set(re.findall(r"`(\w+)`", tasks)) <= set(served[name])
    activations, _, _ = section("pooling", "## Activations").partition(".")
    assert tuple(sorted(re.findall(r"`(\w+)`", activations))) == registry.activations.names()


# --- how-to/choose-kernels.md -----------------------------------------------------------------------------------------


def test_kernels_are_told(registry):
    told = {name for cells in rows(prose(DOCS / "how-to" / "choose-kernels.md")) for name in cells[0].split(", ")}
    assert told == {f"`{name}`" for name in registry.kernels.names()}


# --- reference/outputs.md ---------------------------------------------------------------------------------------------


def test_outputs_are_told():
    told = section("outputs", "## PoolingRequestOutput")
    expected = [(f"`{field.name}`", spelled(field.default)) for field in fields(PoolingRequestOutput)]
    assert first_two(told)[: len(expected)] == expected
    assert names(rows(told)) == attributes(PoolingRequestOutput)


@pytest.mark.parametrize("output", [EmbeddingOutput, PoolingOutput])
def test_contents_of_outputs_are_told(output):
    properties = {name for name, value in inspect.getmembers(output) if isinstance(value, property)}
    assert names(rows(section("outputs", f"## {output.__name__}"))) == properties | {"array"}


# --- reference/errors.md ----------------------------------------------------------------------------------------------


def test_every_error_is_told_with_its_bases():
    classes = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    expected = {f"`{kind.__name__}`": ", ".join(f"`{base.__name__}`" for base in kind.__bases__) for kind in classes}
    told, _, _ = prose(REFERENCE / "errors.md").partition("\n## ")
    assert dict(first_two(told)) == expected


def test_attributes_of_invalid_input_are_told():
    error = errors.InvalidInputError("a message")
    assert names(rows(section("errors", "## Attributes of InvalidInputError"))) == set(vars(error))


# --- reference/environment.md -----------------------------------------------------------------------------------------


def test_every_variable_is_told():
    sources = [path.read_text(encoding="utf-8") for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")]
    used = set(re.findall(r"\bMILLPOND_[A-Z_]*[A-Z]", "\n".join(sources)))
    page = prose(REFERENCE / "environment.md")
    assert used == set(re.findall(r"\bMILLPOND_[A-Z_]*[A-Z]", page))
    assert names(rows(section("environment", "## Millpond's own"))) == used - {"MILLPOND_API"}  # said to be no variable


# --- reference/authors.md ---------------------------------------------------------------------------------------------


def test_what_authors_are_given_is_told():
    contexts = (ModelContext, TaskContext, PoolerContext)
    assert names(rows(section("authors", "## Context"))) == set().union(*map(attributes, contexts))
    methods = {name for name in attributes(IOProcessor) if name != "ctx"}
    assert names(rows(section("authors", "## IOProcessor"))) == methods


def test_millpond_nn_is_told():
    all_names, batch, metadata = tables(section("authors", "## millpond.nn"))
    assert names(all_names) == set(nn.__all__)
    assert names(batch) == attributes(nn.PackedBatch)
    assert names(metadata) == attributes(nn.PoolingMetadata)


def test_the_test_kit_is_told():
    told = names(rows(section("authors", "## millpond.testing")))
    functions = {name for name in checkpoints.__all__ if inspect.isfunction(getattr(checkpoints, name))}
    kit = {name for name, value in vars(fixtures).items() if type(value).__name__ == "FixtureFunctionDefinition"}
    assert kit
    assert told == functions | kit


def signature_of(function, name):
    signature = inspect.signature(function)
    bare = [it.replace(annotation=it.empty) for it in signature.parameters.values() if it.name != "self"]
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}".replace("'", '"')


def test_signatures_of_the_test_kit_and_of_linear_are_told():
    told = {cells[0].strip("`") for cells in rows(section("authors", "## millpond.testing"))}
    functions = {
        name: value
        for name, value in vars(checkpoints).items()
        if inspect.isfunction(value) and value.__module__ == checkpoints.__name__ and not name.startswith("_")
    }
    assert {signature_of(value, name) for name, value in functions.items()} <= told
    assert f"`{signature_of(nn.Linear.__init__, 'Linear')}`" in section("authors", "## millpond.nn")


# --- all pages --------------------------------------------------------------------------------------------------------


def test_every_public_name_has_a_page():
    _, _, rest = prose(DOCS / "index.md").partition("\n### Names of `millpond`\n")
    table = rows(rest.partition("\n## ")[0])
    pages = {name: cells[1] for cells in table for name in re.findall(r"`(\w+)`", cells[0])}
    of_tasks = set(pages) - set(millpond.__all__)  # which the records of built-in tasks export
    assert set(millpond.__all__) < set(pages)
    assert of_tasks == {getattr(millpond, name).__name__ for name in of_tasks}
    for name, cell in pages.items():
        (target,) = LINK.findall(cell)
        text = (DOCS / target.partition("#")[0]).read_text(encoding="utf-8")
        assert re.search(rf"\b{name}\b", text), f"{target} does not tell of {name}"


def anchors(page):
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in TITLE.findall(prose(page))}


def links(page):
    """The files and headings that a page leads to."""
    for link in LINK.findall(prose(page)):
        if not link.startswith(("http:", "https:")):
            target, _, anchor = link.partition("#")
            yield link, (page.parent / target).resolve() if target else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page):
    broken = [
        link
        for link, target, anchor in links(page)
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]
    assert broken == []


def test_the_index_leads_to_every_page():
    linked = {target for _, target, _ in links(DOCS / "index.md")}
    assert {page for page in DOCS.rglob("*.md") if page not in linked} == {DOCS / "index.md"}


# --- tutorial/first-plugin.md -----------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package that the tutorial shows, written out and installed as pip would; its name for tests is its folder."""
    root = tmp_path / "package"
    for file in FILE.finditer((DOCS / "tutorial" / "first-plugin.md").read_text(encoding="utf-8")):
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["text"], encoding="utf-8")
    (root / "src" / "millpond_content" / "__init__.py").write_text('"""CONTENT pooling."""\n', encoding="utf-8")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = root / "src" / "millpond_content-0.1.0.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = "\n".join(f"{name} = {module}" for name, module in project["entry-points"]["millpond"].items())
    (info / "entry_points.txt").write_text(f"[millpond]\n{points}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(root / "src")
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] == "millpond_content"]:
        del sys.modules[name]


def test_the_tutorial_makes_a_package_that_works(package, tmp_path):
    specification = importlib.util.spec_from_file_location("content_tests", package / "tests" / "test_content.py")
    tests = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tests)
    manager = PluginManager(strict=True)
    assert manager.registry.poolers.get("CONTENT").qualified == "content/CONTENT"
    functions = [value for name, value in vars(tests).items() if name.startswith("test_")]
    assert len(functions) == 3
    for function in functions:
        folder = tmp_path / function.__name__
        function(folder, manager)
        assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"] == ["BertModel"]
