"""docs/models.md is what the registry and the figures say, and the figures are those of today."""

from pathlib import Path

import models_page
import pytest

from millpond.plugin.manager import PluginManager

REGISTRY = PluginManager(ranks=("builtin",), disabled=()).registry
WRITTEN = models_page.PAGE.read_text(encoding="utf-8")
FIGURES = models_page.read_figures(WRITTEN)
MOST = 1e-4
TESTS = "".join(
    path.read_text(encoding="utf-8")
    for path in models_page.TESTS.parent.rglob("*.py")
    if path.stem not in ("test_conformance", "test_models_page")
)


def test_the_page_is_what_the_registry_says():
    assert models_page.render(REGISTRY, FIGURES) == WRITTEN, "`make models` writes docs/models.md anew"


def test_everything_that_is_served_is_on_the_page_with_its_figures():
    native = {entry.spec.name for entry in REGISTRY.architectures.entries()}
    assert set(FIGURES) == native | set(models_page.standing_examples())
    for name, figure in FIGURES.items():
        assert figure.int8 in ("yes", "no"), f"{name} is not measured: `make models`"
        assert figure.parity == models_page.OWN or 0 <= float(figure.parity) < MOST, name
    for name in models_page.standing_examples():
        assert FIGURES[name].int8 == "no"


def test_what_has_a_reference_of_its_own_has_tests_of_its_own():
    own = [name for name, figure in FIGURES.items() if figure.parity == models_page.OWN]
    assert [name for name in own if name not in TESTS and name.removesuffix("Model") not in TESTS] == []


def test_figures_are_read_as_they_are_written():
    figures = {name: models_page.Figure("3e-07", "yes") for name in FIGURES}
    assert models_page.read_figures(models_page.render(REGISTRY, figures)) == figures


@pytest.mark.parametrize("name", ["BertModel", "Qwen3Model", "StaticEmbedding"])
def test_a_figure_is_measured_again(tmp_path, name):
    held = getattr(models_page.tests_module("test_conformance"), f"Test{name}")()
    found = models_page.measure(held, tmp_path / name)
    assert (found.int8, found.parity == models_page.OWN) == (
        FIGURES[name].int8,
        FIGURES[name].parity == models_page.OWN,
    )
    assert found.parity == models_page.OWN or float(found.parity) < MOST


@pytest.mark.slow
def test_all_figures_are_measured_again():
    found = dict(models_page.measured(REGISTRY))
    assert {name: it.int8 for name, it in found.items()} == {name: it.int8 for name, it in FIGURES.items()}
    numbers = [float(it.parity) for it in found.values() if it.parity != models_page.OWN]
    assert len(numbers) > 30
    assert max(numbers) < MOST


def test_a_difference_is_relative_to_the_largest_value():
    found, expected = [[1.0, 2.0], [4.0]], [[1.0, 2.5], [4.0]]
    assert models_page.difference(found, expected) == 0.125
    assert Path(models_page.PAGE).name == "models.md"
