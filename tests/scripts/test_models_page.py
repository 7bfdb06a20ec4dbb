"""docs/models.md matches the registry and the measured figures."""

import json
from pathlib import Path

import models_page
import pytest

from millpond.model.source import SourceOptions, find_repository
from millpond.plugin.manager import PluginManager
from millpond_checkpoints.file_hashes import file_hashes

REGISTRY = PluginManager(ranks=("builtin",), disabled=()).registry
PAGE = models_page.PAGE.read_text(encoding="utf-8")
FIGURES = models_page.read_figures(PAGE)
MAX_DIFFERENCE = 1e-4
TESTS = "".join(
    path.read_text(encoding="utf-8")
    for path in models_page.TESTS.parent.rglob("*.py")
    if path.stem not in ("test_conformance", "test_models_page")
)


def test_page_matches_the_registry():
    assert models_page.render(REGISTRY, FIGURES) == PAGE, "run: make models"


def test_every_architecture_is_on_the_page_with_its_figures():
    native = {entry.spec.name for entry in REGISTRY.architectures.entries()}
    assert set(FIGURES) == native | set(models_page.fallback_examples())
    for name, figure in FIGURES.items():
        assert figure.int8 in ("yes", "no"), f"{name} is not measured, run: make models"
        assert figure.parity == models_page.TESTED_SEPARATELY or 0 <= float(figure.parity) < MAX_DIFFERENCE, name
    for name in models_page.fallback_examples():
        assert FIGURES[name].int8 == "no"


def test_separately_tested_architectures_have_tests():
    names = [name for name, figure in FIGURES.items() if figure.parity == models_page.TESTED_SEPARATELY]
    assert [name for name in names if name not in TESTS and name.removesuffix("Model") not in TESTS] == []


def test_figures_are_read_from_the_page():
    figures = {name: models_page.Figure("3e-07", "yes") for name in FIGURES}
    assert models_page.read_figures(models_page.render(REGISTRY, figures)) == figures


@pytest.mark.parametrize("name", ["BertModel", "Qwen3Model", "StaticEmbedding"])
def test_measured_figure_matches_the_page(tmp_path, name):
    suite = getattr(models_page.tests_module("test_conformance"), f"Test{name}")()
    figure = models_page.measure(suite, tmp_path / name)
    assert (figure.int8, figure.parity == models_page.TESTED_SEPARATELY) == (
        FIGURES[name].int8,
        FIGURES[name].parity == models_page.TESTED_SEPARATELY,
    )
    assert figure.parity == models_page.TESTED_SEPARATELY or float(figure.parity) < MAX_DIFFERENCE


@pytest.mark.slow
def test_all_measured_figures_match_the_page():
    figures = dict(models_page.measured(REGISTRY))
    assert {name: it.int8 for name, it in figures.items()} == {name: it.int8 for name, it in FIGURES.items()}
    numbers = [float(it.parity) for it in figures.values() if it.parity != models_page.TESTED_SEPARATELY]
    assert len(numbers) > 30
    assert max(numbers) < MAX_DIFFERENCE


def test_difference_is_relative_to_the_largest_value():
    actual, expected = [[1.0, 2.0], [4.0]], [[1.0, 2.5], [4.0]]
    assert models_page.difference(actual, expected) == 0.125
    assert Path(models_page.PAGE).name == "models.md"


def test_certificates_are_of_the_files_that_the_tests_use():
    paths = sorted(models_page.CERTIFICATES.glob("*.json"))
    assert [path.stem for path in paths] == ["all-MiniLM-L6-v2"]
    for path in paths:
        certificate = json.loads(path.read_text(encoding="utf-8"))
        assert (certificate["passed"], certificate["problems"]) == (True, [])
        assert [run["quantization"] or run["dtype"] for run in certificate["runs"]] == ["float32", "int8"]
        folder = find_repository(REGISTRY, certificate["model"], SourceOptions()).path
        assert certificate["files"] == dict(file_hashes(folder))
