"""Test `millpond plugins new`: names, files and refusals; tests/behaviour/test_new_plugins.py uses the packages."""

import ast
import sys
import tomllib
from importlib import metadata
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from millpond.plugin.manager import get_plugin_manager
from millpond_cli.commands.plugins import app
from millpond_cli.scaffold.kinds import Kind
from millpond_cli.scaffold.names import PackageNames
from millpond_command.cli import CommandError


def create(*arguments):
    """Run the command and return its result."""
    return CliRunner().invoke(app, ["new", *map(str, arguments)])


@pytest.mark.parametrize("kind", list(Kind))
def test_a_package_is_complete(kind, tmp_path):
    result = create("deep-ripple", "--kind", kind.value, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "millpond-deep-ripple"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name
    assert project["entry-points"]["millpond"] == {"deep_ripple": "millpond_deep_ripple.plugin"}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        ".github/workflows/test.yml",
        ".gitignore",
        "README.md",
        "src/millpond_deep_ripple/__init__.py",
        "src/millpond_deep_ripple/plugin.py",
        "tests/test_deep_ripple.py",
    } < files
    assert sorted(files) == [line.strip() for line in result.output.split("\n\n")[0].splitlines()[1:]]


@pytest.mark.parametrize("kind", list(Kind))
def test_all_names_are_replaced_and_modules_parse(kind, tmp_path):
    create("ripple", "--kind", kind.value, "--output", tmp_path)
    for path in tmp_path.rglob("*"):
        text = path.read_text() if path.is_file() else ""
        assert "addon" not in f"{path.relative_to(tmp_path)} {text}".lower()
        if path.suffix == ".py":
            ast.parse(text)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_package_declares_what_it_imports(kind, tmp_path):
    create("ripple", "--kind", kind.value, "--output", tmp_path)
    project = tomllib.loads((tmp_path / "millpond-ripple" / "pyproject.toml").read_text())["project"]
    required = distributions([*project["dependencies"], *project["optional-dependencies"]["test"]])
    providers = packages_distributions()
    for path in tmp_path.rglob("*.py"):
        modules = {it for it in imported_modules(path) - sys.stdlib_module_names if not it.startswith("millpond")}
        assert [it for it in sorted(modules) if not required & set(providers[it])] == [], path


def distributions(requirements):
    """Return the required distributions, with the direct requirements of Millpond."""
    names = set()
    for requirement in map(Requirement, requirements):
        names.add(requirement.name)
        if requirement.name == "millpond":
            names |= {it.name for it in map(Requirement, metadata.requires("millpond")) if is_active(it, requirement)}
    return names


def is_active(requirement, asked):
    """True if a requirement of Millpond is installed with the requested extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *asked.extras))


def imported_modules(path):
    """Return the top-level modules that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_a_package_with_a_route_requires_the_server(tmp_path):
    create("ripple", "--kind", "route", "--output", tmp_path)
    assert '"millpond[serve]>=' in (tmp_path / "millpond-ripple" / "pyproject.toml").read_text()


@pytest.mark.parametrize("kind", list(Kind))
def test_the_record_has_the_name_that_is_checked_for_conflicts(kind, tmp_path):
    create("deep-ripple", "--kind", kind.value, "--output", tmp_path)
    plugin = tmp_path / "millpond-deep-ripple" / "src" / "millpond_deep_ripple" / "plugin.py"
    assert f'name="{kind.record_name("deep_ripple")}"' in plugin.read_text()
    assert get_plugin_manager().registry.catalog(kind.catalog) is not None


@pytest.mark.parametrize("name", ["ripple", "Ripple", "millpond-ripple", "millpond_ripple"])
def test_the_prefix_and_case_of_a_name_do_not_matter(name):
    assert PackageNames.of(name).distribution == "millpond-ripple"


@pytest.mark.parametrize("name", ["", "9lives", "a--b", "-a", "a/b", "../a", "a b", "class", "millpond", "é"])
def test_an_invalid_name_is_refused(name):
    with pytest.raises(CommandError, match="invalid name"):
        PackageNames.of(name)


def test_an_existing_folder_is_not_changed(tmp_path):
    folder = tmp_path / "millpond-ripple"
    folder.mkdir()
    folder.joinpath("notes.txt").write_text("mine")
    result = create("ripple", "--kind", "pooler", "--output", tmp_path)
    assert "exists already" in str(result.exception)
    assert [path.name for path in tmp_path.rglob("*")] == ["millpond-ripple", "notes.txt"]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("mean", "pooler", "pooler 'MEAN' exists already"),
        ("embed", "task", "task 'embed' exists already"),
        ("poolers", "route", "a plugin 'poolers' is installed already"),
        ("ripple", "poller", "--kind 'poller': expected one of architecture, pooler"),
    ],
)
def test_a_conflict_is_refused_before_anything_is_written(name, kind, message, tmp_path):
    result = create(name, "--kind", kind, "--output", tmp_path)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.joinpath("file").write_text("")
    result = create("ripple", "--kind", "pooler", "--output", tmp_path / "file")
    assert isinstance(result.exception, CommandError)
    assert f"cannot write {tmp_path / 'file'}" in str(result.exception)
