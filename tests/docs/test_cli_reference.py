"""docs/reference/cli.md documents every command and every option."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from command_kit import builtin_commands
from typer.main import get_command

from millpond_command import cli

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """Return the text below each heading of the page."""
    parts = re.split(r"^#{1,3} (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


COMMANDS = dict(builtin_commands())


def options(command: Any) -> list[str]:
    context = typer.Context(command, info_name="millpond")
    shown = [parameter for parameter in command.get_params(context) if not getattr(parameter, "hidden", False)]
    names = [name for parameter in shown for name in (*parameter.opts, *parameter.secondary_opts)]
    return [name for name in names if name.startswith("-") and name not in ("--help", "-h")]


def test_all_commands_are_listed():
    assert set(COMMANDS) == {
        "millpond embed",
        "millpond rerank",
        "millpond score",
        "millpond classify",
        "millpond encode",
        "millpond similarity",
        "millpond search",
        "millpond inspect",
        "millpond canary write",
        "millpond canary check",
        "millpond bench",
        "millpond env",
        "millpond verify",
        "millpond serve",
        "millpond run-batch",
        "millpond config show",
        "millpond cache status",
        "millpond cache clear",
        "millpond job run",
        "millpond job status",
        "millpond job retry",
        "millpond job verify",
        "millpond job export",
        "millpond plugins list",
        "millpond plugins doctor",
        "millpond plugins new",
        "millpond plugins kernels",
    }
    assert "--batch-tokens" in options(COMMANDS["millpond embed"])


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_each_command_are_documented(name):
    documented = re.findall(r"`(--?[a-z][a-z-]*)`", sections()[name])
    assert set(options(COMMANDS[name])) == set(documented)


def test_global_options_are_documented():
    documented = re.findall(r"`(--?[A-Za-z][a-z-]*)`", sections()["The command line"])
    assert set(options(get_command(cli.app))) | {"--help", "-h"} == set(documented)


def test_every_exit_code_is_documented():
    documented = re.findall(r"^\| (\d+) \|", sections()["Exit codes"], flags=re.MULTILINE)
    assert documented == [str(code) for code in (cli.OK, cli.FAILURE, cli.USAGE, cli.PARTIAL, cli.INTERRUPTED)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name):
    context = typer.Context(COMMANDS[name], info_name="millpond")
    shown = [parameter for parameter in COMMANDS[name].get_params(context) if not getattr(parameter, "hidden", False)]
    assert [parameter.name for parameter in shown if not parameter.help] == []
