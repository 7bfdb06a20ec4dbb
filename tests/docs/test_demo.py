"""Test the program that `make demo` runs, and its picture in the README."""

import importlib.util
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from millpond.plugin.manager import PluginManager
from millpond_command.kinds import CommandSpec

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / "docs" / "images" / "demo.svg"
CHARACTER_WIDTH = 12.2
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def demo():
    specification = importlib.util.spec_from_file_location("demo", REPOSITORY / "examples" / "demo.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def picture_lines():
    """Return the lines of text in the picture, from top to bottom."""
    lines = {}
    for element in ET.parse(PICTURE).iter(f"{SVG}text"):
        if "clip-path" in element.attrib:  # not the title of the window
            text = element.text.replace("\xa0", " ").rstrip("\n")
            column = round(float(element.attrib["x"]) / CHARACTER_WIDTH)
            y = float(element.attrib["y"])
            lines[y] = lines.get(y, "").ljust(column) + text
    return [lines[y].rstrip() for y in sorted(lines)]


def test_demo_finds_the_similar_sentences(demo, capsys):
    demo.main()
    printed = capsys.readouterr().out
    assert all(sentence in printed for sentence in demo.SENTENCES)
    assert "Most similar: 1 and 2, 3 and 4, 5 and 6." in printed


def test_picture_shows_the_commands_and_sentences_of_the_demo(demo):
    lines = picture_lines()
    next_steps = demo.NEXT_STEPS.format(command=".venv/bin/millpond", model=demo.MODEL)
    assert lines[0] == "$ make demo"
    assert lines[-len(next_steps.splitlines()) :] == re.sub(r"\[/?bold\]", "", next_steps).splitlines()
    table = [line for line in lines if re.match(r"\d [A-Z]", line)]
    assert [re.sub(r" +-?\d\.\d\d", "", line) for line in table] == [
        f"{number} {sentence}" for number, sentence in enumerate(demo.SENTENCES, start=1)
    ]


def test_commands_of_the_demo_exist(demo):
    commands = re.findall(r"^  \{command\} (.+)$", demo.NEXT_STEPS, re.MULTILINE)
    names = {shlex.split(command)[0] for command in commands} - {"--help"}
    assert names == {"similarity", "embed", "inspect"}
    assert names <= set(PluginManager(ranks=("builtin",), disabled=()).registry[CommandSpec].names())


def test_readme_shows_the_picture():
    assert "(docs/images/demo.svg)" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
