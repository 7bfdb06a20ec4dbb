"""The help of every command ends with examples, and their command lines are valid."""

import shlex

import pytest
from command_kit import builtin_commands

COMMANDS = dict(builtin_commands())


def command_lines(command):
    """Return the words of each ``millpond`` command in the examples of a command."""
    lines = []
    for line in (command.epilog or "").splitlines():
        words = shlex.split(line, comments=True)
        while "|" in words:
            words = words[words.index("|") + 1 :]
        lines.append(words)
    return lines


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_of_itself(name):
    lines = command_lines(COMMANDS[name])
    assert lines, f"{name} has no example"
    assert all(words[: len(name.split())] == name.split() for words in lines), lines


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_each_command_parse(name):
    for words in command_lines(COMMANDS[name]):
        context = COMMANDS[name].make_context(name, words[len(name.split()) :])
        assert not context.args, f"{' '.join(words)}: unused {context.args}"


def test_an_example_with_an_unknown_option_would_fail():
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["millpond embed"].make_context("millpond embed", ["--frobnicate", "a text"])
