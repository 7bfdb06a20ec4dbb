"""docs/hooks holds one page for each hook: its exact signature, each field of its record, a whole plugin, who wins."""

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from millpond.plugin import hookspecs
from millpond.plugin.manager import HOOKS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "hooks"
BLOCK = re.compile(r"^```python(?P<note>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<field>\w+)` \| (?P<default>.+?) \| (?P<meaning>.+) \|$", re.MULTILINE)


def read_page(hook):
    return (PAGES / f"{hook}.md").read_text(encoding="utf-8")


def signature_of(hook):
    (line,) = re.findall(r"^def (.+):$", inspect.getsource(getattr(hookspecs, hook)), re.MULTILINE)[:1]
    return line


def default_of(field):
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING:
        return "required"
    if is_dataclass(value):
        return f"`{type(value).__name__}()`"
    return "`{}`".format(repr(value).replace("'", '"'))


def test_each_hook_has_a_page_and_each_page_a_hook():
    assert {page.stem for page in PAGES.glob("register_*.md")} == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_page_begins_with_name_and_exact_signature(hook):
    signature = signature_of(hook)
    assert signature == f"{hook}() -> Iterable[{HOOKS[hook].__name__}]"
    title, empty, second, *_ = read_page(hook).splitlines()
    assert (title, empty, second) == (f"# {hook}", "", f"`{signature}`")


def the_record(hook):
    """What a page tells of the record, up to the next heading."""
    return read_page(hook).partition("\n## The record\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_page_tells_every_field_and_its_default(hook):
    rows = [(row["field"], row["default"]) for row in ROW.finditer(the_record(hook))]
    assert rows == [(field.name, default_of(field)) for field in fields(HOOKS[hook])]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_page_shows_a_whole_plugin_that_runs(hook):
    blocks = list(BLOCK.finditer(read_page(hook)))
    assert len(blocks) >= 2
    assert [block["note"] for block in blocks] == [""] * len(blocks), "every block is run by tests/test_docs.py"
    code = "".join(block["code"] for block in blocks)
    assert re.search(rf"@hookimpl\ndef {hook}\(\) -> Iterator\[{HOOKS[hook].__name__}\]:\n", code)
    assert "assert " in code, "an example that asserts nothing proves nothing"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_page_says_who_wins(hook):
    _, heading, text = read_page(hook).partition("\n## Who wins\n")
    assert heading
    assert "before the built-ins" in text
