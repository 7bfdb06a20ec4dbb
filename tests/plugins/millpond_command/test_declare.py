"""Options that commands share: a dataclass in a command's signature adds its fields."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from millpond_cli import options
from millpond_cli.arguments import call_arguments
from millpond_command import declare
from millpond_command.cli import CommandError
from millpond_command.model_arguments import arguments_of
from millpond_command.model_options import FileOptions, PluginRunOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class Base:
    """One option."""

    size: Annotated[int, declare.option("First", "--size", "-s", least=1, help="How large.")] = 3


@dataclass(frozen=True, kw_only=True)
class Group(Base):
    """Two more."""

    flag: Annotated[bool, declare.option("Second", "--flag/--no-flag", help="Whether.")] = False
    names: Annotated[list[str] | None, declare.option("Second", "--name", help="What.")] = None


SEEN = []
app = declare.new_app()


@declare.command(app, examples=("millpond thing --size 4 one", f"millpond thing {'two ' * 40}".rstrip()))
def thing(
    *,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts.")] = None,
    group: Group,
    label: Annotated[str, declare.option("First", "--label", help="A label.")] = "mine",
) -> None:
    """Do a thing."""
    SEEN.append((texts, group, label))


def call(*arguments):
    SEEN.clear()
    done = CliRunner().invoke(app, arguments)
    return SEEN[0] if done.exit_code == 0 and SEEN else done


def test_a_command_is_called_with_its_groups():
    assert call("a") == (["a"], Group(), "mine")
    expected = Group(size=7, flag=True, names=["x", "y"])
    assert call("-s", "7", "--flag", "--name", "x", "--name", "y", "--label", "z", "a", "b") == (
        ["a", "b"],
        expected,
        "z",
    )
    assert call("--no-flag", "a")[1].flag is False


def test_invalid_values_of_options_are_refused():
    assert call("--size", "0", "a").exit_code == 2
    assert call("--size", "x", "a").exit_code == 2
    assert call("--group", "x", "a").exit_code == 2


def test_help_has_each_option_under_its_heading_and_ends_with_the_examples():
    output = call("--help").stdout
    first, second = output.index("\nFirst:\n"), output.index("\nSecond:\n")
    assert (
        first
        < output.index("--size")
        < output.index("--label")
        < second
        < output.index("--no-flag")
        < output.index("--name")
    )
    assert "group" not in output.lower()
    assert output.endswith(
        f"\nExamples:\n  millpond thing --size 4 one\n  millpond thing {'two ' * 40}".rstrip() + "\n"
    )


def test_a_command_without_examples_has_no_heading_for_them():
    plain = declare.new_app()
    declare.command(plain, "plain", short_help="Nothing.")(lambda: None)
    assert "Examples" not in CliRunner().invoke(plain, ["--help"]).stdout


# --- what was typed becomes arguments ---------------------------------------------------------------------------------


def test_a_model_receives_only_the_arguments_of_its_group():
    assert arguments_of(FileOptions()) == {
        "dtype": "auto",
        "convert": "auto",
        "model_impl": "auto",
        "allow_pickle": False,
    }
    arguments = arguments_of(
        RunOptions(hf_overrides='{"a": 1}', pooler_config='{"dimensions": 8}', kernels=["attention=sdpa"], device="cpu")
    )
    assert (arguments["hf_overrides"], arguments["pooler_config"]) == ({"a": 1}, {"dimensions": 8})
    assert (arguments["kernels"], arguments["device"]) == ({"attention": "sdpa"}, "cpu")
    assert "io_processor_plugin" not in arguments
    assert arguments_of(PluginRunOptions(io_processor_plugin="mine"))["io_processor_plugin"] == "mine"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, {"on_overflow": None}),
        ({"truncate": True}, {"truncate_prompt_tokens": -1}),
        ({"truncate": True, "on_overflow": "truncate"}, {"truncate_prompt_tokens": -1}),
        ({"on_overflow": "truncate"}, {"truncate_prompt_tokens": -1}),
        ({"on_overflow": "chunk"}, {"on_overflow": "chunk"}),
        ({"truncate": False}, {"on_overflow": "error"}),
        ({"truncate": False, "on_overflow": "error"}, {"on_overflow": "error"}),
    ],
)
def test_options_for_long_texts_become_one_argument(typed, expected):
    unsaid = dict.fromkeys(("prompt", "prompt_name", "adapter"))
    assert call_arguments(options.CallOptions(**typed)) == {**unsaid, **expected}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"on_overflow": "burst"}, "--on-overflow 'burst': expected one of error, truncate, chunk"),
        ({"truncate": True, "on_overflow": "chunk"}, "--truncate and --on-overflow chunk contradict each other"),
        ({"truncate": False, "on_overflow": "chunk"}, "--no-truncate and --on-overflow chunk contradict each other"),
        ({"prompt": "a", "prompt_name": "b"}, "--prompt and --prompt-name cannot be used together"),
    ],
)
def test_options_that_contradict_each_other_are_refused(typed, message):
    with pytest.raises(CommandError) as caught:
        call_arguments(options.CallOptions(**typed))
    assert str(caught.value) == message
    assert caught.value.exit_code == 2
