"""docs/images/layers.svg matches the imports."""

import layers
import pytest


def test_picture_in_the_documentation_is_up_to_date():
    assert layers.PICTURE.read_text(encoding="utf-8") == layers.draw(*layers.read()), "run: python scripts/layers.py"


def test_new_import_changes_the_picture():
    packages, core = layers.read()
    changed = [*core[:-1], [layers.Part(core[-1][0].name, core[-1][0].summary, ("engine",))]]
    assert layers.draw(packages, core) != layers.draw(packages, changed)


def test_layers_of_the_core_import_only_lower_layers():
    _, core = layers.read()
    for number, layer in enumerate(core):
        below = {part.name for row in core[number:] for part in row}
        assert {name for part in layer for name in part.imports} <= below


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("LLM: runs models. And more.", "Runs models"),
        ("The vocabulary: prompts and errors.", "The vocabulary: prompts and errors"),
    ],
)
def test_summary_is_the_first_sentence_without_a_leading_name(docstring, summary, tmp_path, monkeypatch):
    folder = tmp_path / "core" / "sample"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f'"""{docstring}"""\n', encoding="utf-8")
    monkeypatch.setattr(layers, "REPOSITORY", tmp_path)
    assert layers.summary_of("sample") == summary
