"""Generate the tables of the arguments of LLM, and of the options of commands."""

import re
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any

from markdown_tables import escaped, table
from typer.main import get_command

from millpond.plugin.manager import PluginManager
from millpond.types.model_args import DEFAULTS, describe
from millpond_command.kinds import CommandSpec
from millpond_command.model_options import MODEL_OPTIONS, option_for

DOCS = Path(__file__).resolve().parents[1] / "docs"
OPTION_OR_VARIABLE = re.compile(r"(?<![`\w/-])(--[a-z][a-z-]+|MILLPOND_[A-Z_]+|HF_TOKEN)\b(?!`)")
DEFAULT_IN_HELP = re.compile(r"\s*\(default: (?P<default>.+?)\)(?=\.?$)")
VALUE = re.compile(r"(?!none$)[\w.:/-]+")  # a value to type, not a phrase
REFERENCE_COMMAND = "embed"  # the tables of other commands list the options shared with it by name only
COMMANDS_WITH_FULL_TABLES = (REFERENCE_COMMAND, "serve")
MODEL_ROW = (
    "`model`",
    "required",
    "A folder, a hub id, `scheme:name` or a model file (`.toml`): [Load a model](../how-to/load-a-model.md).",
)
IMAGES = ("Embed images", "how-to/images.md")
CACHE = ("Cache results", "how-to/cache.md")
DEVICES = ("Use several devices", "how-to/several-devices.md")
PAGES = {
    "pooler_config": ("PoolerConfig", "reference/pooling.md#poolerconfig"),
    "allowed_media_domains": IMAGES,
    "allowed_local_media_path": IMAGES,
    "mm_processor_kwargs": ("Image sizes", "how-to/images.md#image-sizes"),
    "kernels": ("Choose kernels", "how-to/choose-kernels.md"),
    "quantization": ("Compute in int8", "how-to/int8-and-bits.md"),
    "enable_prefix_caching": (
        "Rerank many documents",
        "how-to/score-and-rerank.md#rerank-many-documents-with-a-language-model",
    ),
    "cache": CACHE,
    "cache_size": CACHE,
    "cuda_graphs": ("Run on a GPU", "how-to/gpu.md"),
    "data_parallel_size": DEVICES,
    "devices": DEVICES,
}
"""The title of a page with details about an argument, and its file in docs/."""
PLUGINS_ROW = ("`plugins`", "`None`", "The `PluginManager` to use; None for the manager of the process.")


def with_link(argument: str, text: str) -> str:
    """Append a link to the page that explains an argument, if there is one."""
    see = PAGES.get(argument)
    return text if see is None else f"{text} See [{see[0]}]({relpath(DOCS / see[1], DOCS / 'reference')})."


def argument_table(name: str) -> Iterator[str]:
    """Yield the table of the arguments of ``LLM``."""
    if name != "LLM":
        message = f"unknown class {name!r}; available: LLM"
        raise ValueError(message)
    arguments = (
        (
            f"`{argument}`",
            f"`{default!r}`".replace("'", '"'),
            with_link(argument, describe(argument, python=True)),
        )
        for argument, default in DEFAULTS.items()
    )
    return table(("argument", "default", "description"), (MODEL_ROW, *arguments, PLUGINS_ROW))


def command_named(name: str) -> Any:
    """Return the click command of a built-in command, such as ``embed`` or ``plugins list``."""
    registry = PluginManager(ranks=("builtin",), disabled=()).registry
    first, _, second = name.partition(" ")
    command: Any = get_command(registry[CommandSpec].get(first).load())
    return command.commands[second] if second else command


def options_of(command: Any) -> list[Any]:
    """Return the options of a command that its help shows."""
    return [it for it in command.params if it.param_type_name == "option" and not it.hidden and it.name != "help"]


def is_model_option(option: Any) -> bool:
    """True if an option of a command is made from ``ModelArgs``; others may have the same name."""
    return option.name in DEFAULTS and option.help == option_for(option.name).help


def spellings(option: Any) -> tuple[str, ...]:
    """Return the names of an option on the command line."""
    return (*option.opts, *option.secondary_opts)


def default_cell(option: Any) -> str:
    """Return the default of an option as its cell of a table."""
    match = DEFAULT_IN_HELP.search(option.help)
    if option.required:
        return "required"
    if is_model_option(option):
        argument = DEFAULTS[option.name]
        in_words = DEFAULT_IN_HELP.search(describe(option.name))
        default = in_words["default"] if in_words else argument if isinstance(argument, str) else ""
    elif match:
        default = OPTION_OR_VARIABLE.sub(r"`\1`", match["default"])
    else:
        is_value = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
        default = str(option.default) if is_value else ""
    return f"`{default}`" if VALUE.fullmatch(default) else escaped(default)


def description_cell(option: Any) -> str:
    """Return the description of an option as its cell of a table."""
    if is_model_option(option):
        text = DEFAULT_IN_HELP.sub("", describe(option.name))
        text = text if MODEL_OPTIONS[option.name].metavar == "JSON" else text.replace('"', "")
        return escaped(with_link(option.name, text))
    text = DEFAULT_IN_HELP.sub("", option.help).strip()
    return escaped(OPTION_OR_VARIABLE.sub(r"`\1`", text.replace("*", r"\*")))


def option_row(option: Any) -> tuple[str, ...]:
    """Return spellings, default and description of an option."""
    names = ", ".join(f"`{name}`" for name in spellings(option))
    metavar = MODEL_OPTIONS[option.name].metavar if is_model_option(option) else option.metavar
    return (f"{names} `{metavar}`" if metavar else names), default_cell(option), description_cell(option)


def declaration(option: Any) -> tuple[object, ...]:
    """Return the properties that are equal if two commands share an option."""
    return (*spellings(option), option.help, option.default, option.required)


def option_table(name: str) -> Iterator[str]:
    """Yield the options of a command.

    Commands that load a model share many options: only the table of ``embed`` describes these. The options of ``embed``
    and ``serve`` are in one table for each heading of their help.
    """
    options = options_of(command_named(name))
    header = ("option", "default", "description")
    if name in COMMANDS_WITH_FULL_TABLES:
        panels = dict.fromkeys(option.rich_help_panel or "Options" for option in options)
        for number, panel in enumerate(panels):
            yield from ("",) * (number > 0)
            yield from (f"#### {panel}", "")
            yield from table(header, (option_row(it) for it in options if (it.rich_help_panel or "Options") == panel))
        return
    described = {declaration(it) for it in options_of(command_named(REFERENCE_COMMAND))}
    shared = [it for it in options if declaration(it) in described]
    model = [it for it in shared if is_model_option(it)]
    specific = [it for it in options if it not in shared]
    paragraphs = []
    if specific:
        paragraphs.append([*table(header, map(option_row, specific))])
    others = [it for it in shared if it not in model]
    for subject, group in (("Options", others), ("Options of the model", model)):
        if group:
            names = ", ".join(f"`{spelling}`" for option in group for spelling in spellings(option))
            paragraphs.append([f"{subject} that are the same as for `{REFERENCE_COMMAND}`: {names}."])
    for number, lines in enumerate(paragraphs):
        yield from ("",) * (number > 0)
        yield from lines
