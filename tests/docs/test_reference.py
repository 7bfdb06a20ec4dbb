"""The documentation matches the code: public names, arguments, fields, errors, variables, links."""

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
from millpond.context import ModelContext, PoolerContext, TaskContext
from millpond.loading import arguments
from millpond.pipeline.call import Options
from millpond.plugin.manager import PluginManager
from millpond.testing import checkpoints, fixtures
from millpond.types import errors
from millpond_vllm import arguments as vllm
from millpond_vllm import dialect

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
REFERENCE = DOCS / "reference"
SOURCE_ROOTS = ("core", "builtin_models", "builtin_poolers", "io_processors", "kernels", "plugins")
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCED = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^#+ (.+)$", re.MULTILINE)


def prose(page):
    """Return the text of a page without its code blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def section(name, heading):
    """Return the text of a reference page from a heading to the next one."""
    _, match, rest = prose(REFERENCE / f"{name}.md").partition(f"\n{heading}\n")
    assert match, f"{name}.md has no heading {heading!r}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text):
    """Return the tables of a text: each is a list of rows without the header, each row a list of cells."""
    blocks = [block.splitlines() for block in re.split(r"\n{2,}", text.strip("\n")) if block.startswith("|")]
    return [[line.strip("| ").split(" | ") for line in lines[2:]] for lines in blocks]


def rows(text):
    """Return the rows of all tables in a text."""
    return [cells for table in tables(text) for cells in table]


def names(table):
    """Return the names in the first column of a table; functions without their arguments."""
    return {name for cells in table for name in re.findall(r"`(?:\w+\.)*(\w+)[^`]*`", cells[0])}


def default_cell(value):
    return "required" if value is MISSING or value is inspect.Parameter.empty else f"`{value!r}`".replace("'", '"')


def parameters(function):
    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    kept = [it for it in inspect.signature(function).parameters.values() if it.kind not in skipped]
    return [(f"`{it.name}`", default_cell(it.default)) for it in kept if it.name != "self"]


def is_former_name(attribute):
    return isinstance(attribute, property) and re.match("The (old|former) name of", attribute.__doc__ or "") is not None


def attributes(kind):
    """Return the public names that a class itself defines, including its fields and without former names."""
    public = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    names_of_class = {name for name, value in public.items() if not is_former_name(value)}
    return names_of_class | set(getattr(kind, "__annotations__", ())) | set(getattr(kind, "__dataclass_fields__", ()))


def first_two(text):
    return [tuple(cells[:2]) for cells in rows(text)]


# --- reference/llm.md -------------------------------------------------------------------------------------------------


METHODS = ("embed", "embed_sparse", "embed_chunks", "classify", "score", "reward", "represent", "encode")


@pytest.mark.parametrize(
    ("heading", "function"),
    [("## LLM", LLM.__init__), *((f"## LLM.{name}", getattr(LLM, name)) for name in METHODS)],
)
def test_arguments_of_llm_are_documented_with_defaults(heading, function):
    assert first_two(section("llm", heading)) == parameters(function)


def test_attributes_and_methods_of_llm_are_documented():
    documented = names(rows(section("llm", "### Attributes and other methods")))
    set_at_start = {"engine_config", "pipeline"}
    assert documented == {name for name in dir(LLM) if not name.startswith("_")} - {*METHODS} | set_at_start


def test_options_of_every_call_are_documented():
    documented = first_two(section("llm", "## Options of every call"))
    assert [name for name, _ in documented] == [f"`{name}`" for name in Options.__annotations__]


def test_methods_of_async_llm_are_documented():
    text = section("llm", "## AsyncLLM")
    public = {name for name in dir(AsyncLLM) if not name.startswith("_")}
    assert {name for name in public if f"`{name}`" not in text and f"`await {name}(" not in text} == set()


@pytest.mark.parametrize("method", METHODS)
def test_async_methods_have_the_documented_arguments(method):
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
def test_fields_are_documented_with_defaults(page, heading, model):
    expected = [(f"`{name}`", default_cell(field.default)) for name, field in model.model_fields.items()]
    assert first_two(section(page, heading)) == expected


def test_arguments_of_vllm_are_documented():
    text = section("llm", "## vLLM's arguments")
    by_name = set(re.findall(r'\bname == "(\w+)"', inspect.getsource(dialect))) | {"task"}
    accepted = set(arguments.KNOWN) - set(inspect.signature(LLM).parameters) - set(EngineConfig.model_fields)
    assert names(rows(text)) == by_name | accepted | {*vllm.RENAMED, *vllm.LOWERS, vllm.LOG_LEVEL}


def test_refused_and_ignored_arguments_of_vllm_are_documented():
    of_engine = [argument for argument in vllm.ARGUMENTS.values() if argument.takes != "server"]
    refused = rows(section("llm", "### Refused arguments"))
    reasons = {name: cells[2] for cells in refused for name in re.findall(r"`(\w+)`", cells[0])}
    assert reasons == {argument.name: argument.reason for argument in of_engine if argument.reason}
    ignored = re.findall(r"`(\w+)`", section("llm", "### Arguments without effect"))
    assert sorted(ignored) == sorted(argument.name for argument in of_engine if not argument.reason)


# --- reference/pooling.md ---------------------------------------------------------------------------------------------


def test_poolers_and_activations_are_documented(registry):
    types = {re.sub("`", "", cells[0]): cells[2] for cells in rows(section("pooling", "## Pooling types"))}
    served = {name: registry.poolers.get(name).spec.tasks for name in registry.poolers.names()}
    assert set(types) == set(served)
    for name, tasks in types.items():
        assert set(re.findall(r"`(\w+)`", tasks)) <= set(served[name])
    activations, _, _ = section("pooling", "## Activations").partition(".")
    assert tuple(sorted(re.findall(r"`(\w+)`", activations))) == registry.activations.names()


# --- how-to/choose-kernels.md -----------------------------------------------------------------------------------------


def test_kernels_are_documented(registry):
    documented = {name for cells in rows(prose(DOCS / "how-to" / "choose-kernels.md")) for name in cells[0].split(", ")}
    assert documented == {f"`{name}`" for name in registry.kernels.names()}


# --- reference/outputs.md ---------------------------------------------------------------------------------------------


def test_fields_of_outputs_are_documented():
    text = section("outputs", "### Fields")
    expected = [(f"`{field.name}`", default_cell(field.default)) for field in fields(PoolingRequestOutput)]
    assert first_two(text)[: len(expected)] == expected
    assert names(rows(text)) == attributes(PoolingRequestOutput)


@pytest.mark.parametrize("output", [EmbeddingOutput, PoolingOutput])
def test_properties_of_outputs_are_documented(output):
    properties = {name for name, value in inspect.getmembers(output) if isinstance(value, property)}
    assert names(rows(section("outputs", f"## {output.__name__}"))) == properties | {"array"}


# --- reference/errors.md ----------------------------------------------------------------------------------------------


def test_every_error_is_documented_with_its_bases():
    classes = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    expected = {f"`{kind.__name__}`": ", ".join(f"`{base.__name__}`" for base in kind.__bases__) for kind in classes}
    text, _, _ = prose(REFERENCE / "errors.md").partition("\n## ")
    assert dict(first_two(text)) == expected


def test_attributes_of_invalid_input_error_are_documented():
    error = errors.InvalidInputError("a message")
    assert names(rows(section("errors", "## Attributes of InvalidInputError"))) == set(vars(error))


# --- reference/environment.md -----------------------------------------------------------------------------------------


def test_every_environment_variable_is_documented():
    sources = [path.read_text(encoding="utf-8") for root in SOURCE_ROOTS for path in (REPOSITORY / root).rglob("*.py")]
    used = set(re.findall(r"\bMILLPOND_[A-Z_]*[A-Z]", "\n".join(sources)))
    page = prose(REFERENCE / "environment.md")
    assert used == set(re.findall(r"\bMILLPOND_[A-Z_]*[A-Z]", page))
    assert names(rows(section("environment", "## Millpond"))) == used - {
        "MILLPOND_API"
    }  # an attribute of plugin modules


# --- reference/authors.md ---------------------------------------------------------------------------------------------


def test_contexts_and_io_processor_are_documented():
    contexts = (ModelContext, TaskContext, PoolerContext)
    assert names(rows(section("authors", "## Context"))) == set().union(*map(attributes, contexts))
    methods = {name for name in attributes(IOProcessor) if name != "ctx"}
    assert names(rows(section("authors", "## IOProcessor"))) == methods


def test_millpond_nn_is_documented():
    all_names, batch, metadata = tables(section("authors", "## millpond.nn"))
    assert names(all_names) == set(nn.__all__)
    assert names(batch) == attributes(nn.PackedBatch)
    assert names(metadata) == attributes(nn.PoolingMetadata)


def test_test_kit_is_documented():
    documented = names(rows(section("authors", "## millpond.testing")))
    functions = {name for name in checkpoints.__all__ if inspect.isfunction(getattr(checkpoints, name))}
    fixture_names = {
        name for name, value in vars(fixtures).items() if type(value).__name__ == "FixtureFunctionDefinition"
    }
    assert fixture_names
    assert documented == functions | fixture_names


def signature_of(function, name):
    signature = inspect.signature(function)
    bare = [it.replace(annotation=it.empty) for it in signature.parameters.values() if it.name != "self"]
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}".replace("'", '"')


def test_signatures_of_test_kit_and_linear_are_documented():
    documented = {cells[0].strip("`") for cells in rows(section("authors", "## millpond.testing"))}
    functions = {
        name: value
        for name, value in vars(checkpoints).items()
        if inspect.isfunction(value) and value.__module__ == checkpoints.__name__ and not name.startswith("_")
    }
    assert {signature_of(value, name) for name, value in functions.items()} <= documented
    assert f"`{signature_of(nn.Linear.__init__, 'Linear')}`" in section("authors", "## millpond.nn")


# --- all pages --------------------------------------------------------------------------------------------------------


def test_every_public_name_has_a_page():
    _, _, rest = prose(DOCS / "index.md").partition("\n### Names of `millpond`\n")
    table = rows(rest.partition("\n## ")[0])
    pages = {name: cells[1] for cells in table for name in re.findall(r"`(\w+)`", cells[0])}
    assert set(millpond.__all__) == set(pages)
    for name, cell in pages.items():
        (target,) = LINK.findall(cell)
        text = (DOCS / target.partition("#")[0]).read_text(encoding="utf-8")
        assert re.search(rf"\b{name}\b", text), f"{target} does not mention {name}"


def anchors(page):
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in TITLE.findall(prose(page))}


def links(page):
    """Yield each internal link of a page, with its file and heading."""
    for link in LINK.findall(prose(page)):
        if not link.startswith(("http:", "https:")):
            target, _, anchor = link.partition("#")
            yield link, (page.parent / target).resolve() if target else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_are_valid(page):
    broken = [
        link
        for link, target, anchor in links(page)
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]
    assert broken == []


def test_index_links_every_page():
    linked = {target for _, target, _ in links(DOCS / "index.md")}
    assert {page for page in DOCS.rglob("*.md") if page not in linked} == {DOCS / "index.md"}


# --- tutorial/first-plugin.md -----------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package of the tutorial, written to a folder and made importable like an installed one."""
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


def test_package_of_the_tutorial_works(package, tmp_path):
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
