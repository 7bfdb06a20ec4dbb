"""docs/hooks has a page for each hook: its signature, its record, a complete plugin, the order of precedence."""

import inspect
import re
from pathlib import Path

import pytest

from millpond.plugin.hookspecs import HOOKSPECS
from millpond.plugin.manager import PluginManager

CATALOGS = PluginManager(ranks=("builtin",), disabled=()).registry.catalogs()
HOOKS = {it.hook: it.record for it in CATALOGS if it.names()}
PAGES = Path(__file__).resolve().parents[2] / "docs" / "hooks"
BLOCK = re.compile(r"^```python(?P<note>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)


def read_page(hook):
    return (PAGES / f"{hook}.md").read_text(encoding="utf-8")


def signature_of(hook):
    (line,) = re.findall(r"^def (.+):$", inspect.getsource(HOOKSPECS[hook]), re.MULTILINE)[:1]
    return line.replace("specs.", "")


def test_pages_match_hooks():
    assert {page.stem for page in PAGES.glob("register_*.md")} == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_page_begins_with_name_and_signature(hook):
    signature = signature_of(hook)
    assert signature == f"{hook}() -> Iterable[{HOOKS[hook].__name__}]"
    title, empty, second, *_ = read_page(hook).splitlines()
    assert (title, empty, second) == (f"# {hook}", "", f"`{signature}`")


@pytest.mark.parametrize("hook", HOOKS)
def test_page_has_the_table_of_the_record(hook):
    _, _, text = read_page(hook).partition("\n## The record\n")
    assert f"\n<!-- table: record {HOOKS[hook].__name__} -->\n" in text


@pytest.mark.parametrize("hook", HOOKS)
def test_page_shows_a_complete_plugin(hook):
    blocks = list(BLOCK.finditer(read_page(hook)))
    assert len(blocks) >= 2
    assert [block["note"] for block in blocks] == [""] * len(blocks), "test_code_blocks.py runs every block"
    code = "".join(block["code"] for block in blocks)
    assert re.search(rf"@hookimpl\ndef {hook}\(\) -> Iterator\[{HOOKS[hook].__name__}\]:\n", code)
    assert "assert " in code, "the example has no assertion"


@pytest.mark.parametrize("hook", HOOKS)
def test_page_states_the_precedence(hook):
    _, heading, text = read_page(hook).partition("\n## Precedence\n")
    assert heading
    assert "registered by the program, installed plugins, the built-ins" in " ".join(text.split())


@pytest.mark.parametrize("hook", HOOKS)
def test_docstring_of_a_hook_fits_the_screen(hook):
    text = inspect.getdoc(HOOKSPECS[hook])
    assert len(text.splitlines()) <= 24
    assert "Example::" not in text, "docs/hooks has the example"
