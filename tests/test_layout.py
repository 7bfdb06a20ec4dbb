"""Test the repository layout: roots, packages, entry points and pins agree, and importing Millpond is cheap."""

import ast
import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import millpond

REPOSITORY = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
TOOL = PYPROJECT["tool"]
ROOTS = TOOL["hatch"]["build"]["dev-mode-dirs"]
PACKAGE_FOLDERS = sorted(TOOL["hatch"]["build"]["targets"]["wheel"]["packages"])
PACKAGES = sorted(Path(folder).name for folder in PACKAGE_FOLDERS)
HIGHER_KITS = [
    "millpond_command",
    "millpond_http",
    "millpond_recipes",
    "millpond_text",
    "millpond_vllm",
]
LOWER_KITS = ["millpond_checkpoints", "millpond_modeling", "millpond_storage"]  # the higher ones may import them
KITS = [*HIGHER_KITS, *LOWER_KITS]
COMPUTING_KITS = {
    "millpond_modeling",
    "millpond_recipes",
    "millpond_text",
}  # their modules import torch; the other kits serve --help
PLUGIN_PACKAGES = [package for package in PACKAGES if package not in {"millpond", *KITS}]
ENGINES = ["daft", "mteb", "ray"]  # extras that are tested in a separate environment
IMPORTED_PACKAGES = ["millpond_daft", "millpond_mteb"]  # they register nothing
REGISTERING_KITS = ["millpond_vllm"]  # the core requests its service
REGISTERING_PACKAGES = [it for it in (*PLUGIN_PACKAGES, *REGISTERING_KITS) if it not in IMPORTED_PACKAGES]
SCRIPT_FOLDERS = ["tests", "benchmarks", "examples", "docs", "scripts"]
UNCOMPILED = {"MILLPOND_NO_NATIVE": "1"}  # kernels/native/test_native_build.py compiles
HEAVY = TOOL["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]

# Older versions have known vulnerabilities that a checkpoint or a request can reach.
OLDEST_SAFE = {
    "h11": "0.16",
    "jinja2": "3.1.6",
    "pillow": "12",
    "starlette": "0.49.1",
    "torch": "2.10",
    "transformers": "5.3",
}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def relative(paths: list[Path]) -> list[str]:
    return [path.relative_to(REPOSITORY).as_posix() for path in paths]


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, *arguments], {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stderr
    return done


# --- roots and packages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(TOOL["ruff"]["src"], id="ruff"),
        pytest.param(TOOL["mypy"]["mypy_path"], id="mypy"),
        pytest.param(TOOL.get("pyright", {}).get("include", ROOTS), id="pyright"),
    ],
)
def test_all_tools_have_the_same_roots(named):
    assert named == ROOTS


def test_roots_are_the_folders_that_hold_packages():
    marked = {
        path.parent.parent.name for name in ("__init__.py", "py.typed") for path in REPOSITORY.glob(f"*/*/{name}")
    }
    assert marked == set(ROOTS)


def test_no_module_is_directly_in_a_root():
    assert relative([path for root in ROOTS for path in (REPOSITORY / root).glob("*.py")]) == []


def test_the_build_hook_is_the_only_module_outside_the_roots():
    assert relative(list(REPOSITORY.glob("*.py"))) == ["hatch_build.py"]


def test_no_script_folder_is_a_package():
    modules = [path for path in python_files(*SCRIPT_FOLDERS) if "addons" not in path.parts]
    assert relative([path for path in modules if path.name == "__init__.py"]) == []


def test_packages_on_disk_are_the_packages_of_the_wheel():
    on_disk = [
        path for root in ROOTS for path in (REPOSITORY / root).iterdir() if path.is_dir() and path.name != "__pycache__"
    ]
    assert sorted(relative(on_disk)) == PACKAGE_FOLDERS


@pytest.mark.parametrize("folder", PACKAGE_FOLDERS)
def test_package_is_marked_as_typed(folder):
    assert (REPOSITORY / folder / "__init__.py").is_file()
    assert (REPOSITORY / folder / "py.typed").is_file()


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(TOOL["mypy"]["packages"], id="mypy"),
        pytest.param(TOOL["importlinter"]["root_packages"], id="import-linter"),
        pytest.param(TOOL["coverage"]["run"]["source_pkgs"], id="coverage"),
    ],
)
def test_all_tools_have_the_same_packages(named):
    assert sorted(named) == PACKAGES


def test_import_contracts_cover_every_plugin_package():
    contracts = TOOL["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if "containers" not in contract)
    assert [sorted(layer.split(" | ")) for layer in layers] == [PLUGIN_PACKAGES, HIGHER_KITS, LOWER_KITS, ["millpond"]]


def test_plugin_modules_and_entry_points_agree():
    on_disk = [f"{path.parent.name}.plugin" for root in ROOTS for path in (REPOSITORY / root).glob("*/plugin.py")]
    assert sorted(PROJECT["entry-points"]["millpond"].values()) == sorted(on_disk)
    assert sorted(on_disk) == sorted(f"{package}.plugin" for package in REGISTERING_PACKAGES)


def test_versions_agree():
    assert millpond.__version__ == PROJECT["version"]


def test_every_file_begins_with_a_docstring():
    files = [*REPOSITORY.glob("*.py"), *python_files(*ROOTS, *SCRIPT_FOLDERS)]
    silent = [path for path in files if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None]
    assert len(files) > len(PACKAGES)
    assert relative(silent) == []


# --- folders show the architecture ------------------------------------------------------------------------------------

MAX_MODULES_PER_FOLDER = 20
TESTED_ELSEWHERE = {
    "millpond_kernels": "tests/kernels",
    "millpond_models": "tests/builtin_models",
    "millpond_tasks": "tests/plugins",
    "millpond_transformers": "tests/builtin_models/transformers",
}


def test_every_package_has_a_folder_of_tests():
    alone = {root for root in ROOTS if len(list((REPOSITORY / root).glob("*/__init__.py"))) == 1}
    for folder in map(Path, PACKAGE_FOLDERS):
        root, package = folder.parts
        plain = root if root in alone else f"{root}/{package}"
        tests = REPOSITORY / TESTED_ELSEWHERE.get(package, f"tests/{plain}")
        assert list(tests.rglob("test_*.py")), f"{folder} has no tests in {tests}"


def test_every_part_of_the_core_has_a_folder_of_tests():
    parts = {path.parent.name for path in (REPOSITORY / "core" / "millpond").glob("*/__init__.py")}
    assert parts <= {path.parent.name for path in (REPOSITORY / "tests" / "core").glob("*/test_*.py")}


def test_no_folder_has_too_many_modules():
    count = Counter(path.parent for path in python_files(*ROOTS, "tests") if path.stem not in {"__init__", "conftest"})
    assert relative([folder for folder, modules in count.items() if modules > MAX_MODULES_PER_FOLDER]) == []


# --- cheap imports ----------------------------------------------------------------------------------------------------


def test_importing_millpond_imports_only_its_first_module():
    imported = re.findall(
        r"\|\s+([\w.]+)$", run_python("-X", "importtime", "-c", "import millpond").stderr, re.MULTILINE
    )
    assert "millpond" in imported
    assert [name for name in imported if name.partition(".")[0] in {*HEAVY, *PACKAGES}] == ["millpond"]


def test_core_and_plugin_modules_import_nothing_heavy():
    parts = ["core/millpond", *(f"core/millpond/{part}" for part in ("types", "plugin", "pipeline"))]
    folders = [*parts, *(folder for folder in PACKAGE_FOLDERS if Path(folder).name in {*KITS} - COMPUTING_KITS)]
    files = [path.relative_to(REPOSITORY) for folder in folders for path in (REPOSITORY / folder).glob("*.py")]
    modules = [".".join(path.with_suffix("").parts[1:]) for path in files if path.stem != "__init__"]
    plugins = [f"{package}.plugin" for package in REGISTERING_PACKAGES]
    code = f"""
import importlib, json, sys
for name in {[*modules, *plugins, "millpond.testing.fixtures"]!r}:
    importlib.import_module(name)
from millpond.plugin.manager import get_plugin_manager
get_plugin_manager()
print(json.dumps(sorted(sys.modules)))
"""
    imported = json.loads(run_python("-c", code).stdout)
    assert set(plugins) <= set(imported)
    assert sorted(set(HEAVY) & set(imported)) == []


# --- the wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run_python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY), **UNCOMPILED)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_contains_only_the_packages(wheel):
    top_level = {name.partition("/")[0] for name in wheel.namelist()}
    assert top_level == {*PACKAGES, f"millpond-{PROJECT['version']}.dist-info"}


def test_wheel_contains_every_source_file(wheel):
    packed = {name for name in wheel.namelist() if name.endswith((".py", "/py.typed")) or "/static/" in name}
    on_disk = {
        path.relative_to(REPOSITORY / root).as_posix()
        for root in ROOTS
        for pattern in ("*.py", "py.typed", "static/**/*")
        for path in (REPOSITORY / root).rglob(pattern)
        if path.is_file()
    }
    assert packed == on_disk


def test_wheel_has_the_entry_points(wheel):
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str
    parser.read_string(wheel.read(f"millpond-{PROJECT['version']}.dist-info/entry_points.txt").decode())
    groups = {group: dict(parser[group]) for group in parser.sections()}
    assert groups == {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}


# --- dependencies -----------------------------------------------------------------------------------------------------


@cache
def pins(file: str = "constraints.txt") -> dict[str, Version]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is not an exact pin"
        versions[canonicalize_name(requirement.name)] = Version(specifier.version)
    assert len(versions) == len(requirements), "a package is pinned twice"
    return versions


def named_requirements() -> list[Requirement]:
    extras = [lines for name, lines in PROJECT["optional-dependencies"].items() if name not in ENGINES]
    named = [
        *PROJECT["dependencies"],
        *PYPROJECT["build-system"]["requires"],
        *(line for extra in extras for line in extra),
    ]
    return [requirement for line in named if (requirement := Requirement(line)).name != PROJECT["name"]]


def test_constraints_pin_the_requirements_of_pyproject():
    unpinned = [
        str(requirement)
        for requirement in named_requirements()
        if (pin := pins().get(canonicalize_name(requirement.name))) is None or pin not in requirement.specifier
    ]
    assert unpinned == []


@pytest.mark.parametrize("engine", ENGINES)
def test_pins_of_an_engine_satisfy_its_extra(engine):
    versions = pins() | pins(f"tests/engines/{engine}.txt")
    requirements = map(Requirement, PROJECT["optional-dependencies"][engine])
    assert [str(it) for it in requirements if versions[canonicalize_name(it.name)] not in it.specifier] == []


def children(requirement: Requirement) -> list[Requirement]:
    """Return the requirements of an installed package; empty if it is not installed."""
    try:
        lines = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return []
    environments = [{"extra": extra} for extra in requirement.extras or {""}]
    return [
        child
        for line in lines
        if (child := Requirement(line)).marker is None or any(child.marker.evaluate(e) for e in environments)
    ]


def test_constraints_pin_transitive_requirements():
    waiting, seen = named_requirements(), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        # A CUDA build of torch pins the versions of its libraries.
        if (key := (name, frozenset(requirement.extras))) not in seen and not name.startswith(
            ("cuda-", "nvidia-", "triton")
        ):
            seen.add(key)
            waiting += children(requirement)
    names = {name for name, _ in seen}
    assert {"tokenizers", "filelock", "markupsafe"} <= names
    assert sorted(names - pins().keys()) == []


def test_torch_is_pinned_without_naming_a_build():
    assert pins()["torch"].local is None


def test_no_pin_is_older_than_the_oldest_safe_version():
    unsafe = {name: str(pin) for name, pin in pins().items() if pin < Version(OLDEST_SAFE.get(name, "0"))}
    assert unsafe == {}
