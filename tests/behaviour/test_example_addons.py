"""Test the packages in examples/addons: each is installed in a new environment and passes its tests."""

import re
import shutil
import tomllib

import pytest
from fresh_environment import IGNORED_FILES, REPOSITORY, build_wheel, environment_with_millpond, run

from millpond_cli.scaffold.package import SHARED

EXAMPLES = REPOSITORY / "examples" / "addons"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/pyproject.toml"))
NAMES = [folder.name for folder in FOLDERS]


def read_project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def package_name(folder):
    return folder.name.replace("-", "_")


# --- layout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_an_example_has_the_layout_of_a_new_package(folder):
    package = package_name(folder)
    files = [*SHARED.values(), "src/addon_package/plugin.py", "src/addon_package/py.typed"]
    missing = [path for path in files if not (folder / path.replace("addon_package", package)).is_file()]
    assert missing == []
    assert list(folder.glob("tests/test_*.py"))
    project = read_project(folder)
    assert project["name"] == folder.name
    assert list(project["entry-points"]["millpond"].values()) == [f"{package}.plugin"]


def test_the_readme_lists_the_examples():
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((millpond-\w+)/README\.md\)", readme)) == NAMES


# --- installation -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with Millpond's wheel."""
    return environment_with_millpond(tmp_path_factory)


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_an_example_is_installed_and_passes_its_tests(folder, environment, tmp_path):
    copy = shutil.copytree(folder, tmp_path / folder.name, ignore=IGNORED_FILES)
    environment.install(build_wheel(copy, tmp_path / "wheel"))
    try:
        assert " passed" in environment.run_tests(copy)
        for plugin in read_project(folder)["entry-points"]["millpond"]:
            doctor = run(environment.python, "-m", "millpond", "plugins", "doctor", plugin, environment=environment)
            assert doctor.split()[:2] == ["ok", f"{plugin}:"]
    finally:
        environment.pip("uninstall", "--yes", folder.name)
