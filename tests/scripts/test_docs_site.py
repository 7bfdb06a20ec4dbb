"""The pages of the documentation site: their links, their navigation and the modules of the API reference."""

import re
import sys
import types

import api_pages
import gallery_pictures
import pages

AUTHORS = pages.REPOSITORY / "docs" / "reference" / "authors.md"


def test_links_between_pages_name_their_places_on_the_site():
    text, missing = pages.relink(
        "README.md", "[Guide](docs/how-to/serve.md#limits), [list](docs/index.md), [log](CHANGELOG.md)"
    )
    assert text == "[Guide](how-to/serve.md#limits), [list](contents.md), [log](project/changelog.md)"
    assert missing == []
    text, _ = pages.relink("docs/how-to/serve.md", "[Home](../../README.md), ![demo](../images/demo.svg)")
    assert text == "[Home](../index.md), ![demo](../images/demo.svg)"


def test_links_to_other_files_become_text_and_missing_files_are_reported():
    text, missing = pages.relink("docs/index.md", "[Licence](../LICENSE), [lost](lost.md), [web](https://example.org)")
    assert text == "Licence, lost, [web](https://example.org)"
    assert missing == ["lost.md"]


def test_links_in_code_blocks_are_kept():
    block = "```python\nrows[0](lost.md)\n```\n"
    assert pages.relink("docs/index.md", f"Text\n\n{block}\nmore") == (f"Text\n\n{block}\nmore", [])


def test_all_pages_are_staged_without_broken_links(tmp_path):
    pages.stage(tmp_path)
    staged = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert staged == set(pages.places().values())
    assert {"index.md", "contents.md", "hooks/register_poolers.md"} <= staged


def test_navigation_has_each_page_once():
    contents = (pages.REPOSITORY / pages.CONTENTS).read_text(encoding="utf-8")
    groups = pages.navigation(contents)
    listed = [page for group in groups for page in group.pages]
    assert len(listed) == len(set(listed))
    on_disk = {page.removeprefix("docs/").removesuffix(".md") for page in pages.places() if page.startswith("docs/")}
    assert set(listed) == on_disk - {"index", "gallery"}
    assert "How-to guides: run models" in {group.caption for group in groups}


def test_api_reference_has_the_public_modules():
    sentence = re.search(r"The public modules are (.+?)\. ", AUTHORS.read_text(encoding="utf-8").replace("\n", " "))
    public = set(re.findall(r"`([\w.]+)`", sentence[1])) - {"millpond.testing"}  # its modules have pages
    assert public <= set(api_pages.MODULES)


def test_an_object_of_two_modules_is_described_once(monkeypatch):
    class Shape:
        """A shape."""

    Shape.__module__ = "first"
    for name in ("first", "second"):
        module = types.ModuleType(name, "A module: details.\n\nMore.")
        module.Shape = Shape
        module.__all__ = ["Shape"]
        monkeypatch.setitem(sys.modules, name, module)
    described = {}
    first, second = (api_pages.module_page(name, described) for name in ("first", "second"))
    assert "autoclass:: first.Shape" in first
    assert "A module: details." in first
    assert "More." not in first
    assert "autoclass" not in second
    assert ":py:obj:`first.Shape`" in second


def test_gallery_shows_the_pictures_that_its_blocks_save():
    markdown = gallery_pictures.PAGE.read_text(encoding="utf-8")
    shown = gallery_pictures.SHOWN.findall(markdown)
    assert shown == gallery_pictures.SAVED.findall(gallery_pictures.program(markdown))
    assert sorted(shown) == sorted(path.name for path in gallery_pictures.FOLDER.iterdir())
