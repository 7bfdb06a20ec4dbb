"""Writes the pages of the API reference: one per public module, whose docstrings Sphinx reads."""

import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType

# The public modules, which docs/reference/authors.md names. An object of several modules is described by the first one.
MODULES = (
    "millpond",
    "millpond_jobs",
    "millpond.plugin.specs",
    "millpond.plugin.hookspecs",
    "millpond.plugin.manager",
    "millpond.context",
    "millpond.nn",
    "millpond.plugin.kernels",
    "millpond.pipeline.io_processor",
    "millpond.engine.request",
    "millpond.types.errors",
    "millpond.testing.checkpoints",
    "millpond.testing.conformance",
    "millpond.testing.fixtures",
    "millpond_command.clusters",
    "millpond_command.declare",
    "millpond_command.kinds",
    "millpond_http.kinds",
    "millpond_cache.kinds",
    "millpond_cache.testing",
    "millpond_checkpoints.kinds",
    "millpond_text.kinds",
    "millpond_text.prompt",
    "millpond_text.testing",
    "millpond_vllm.kinds",
    "millpond_server.testing",
)


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a module exports: `__all__`, or the classes and functions that it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def kind_of(value: object) -> str:
    """Return the name of the directive for an object."""
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) else "autodata"


def module_page(name: str, described: dict[int, str]) -> str:
    """Return the page of a module, in Markdown.

    Args:
        name: The module.
        described: The ids of objects that earlier pages describe, with their names; those of this page are added.
    """
    module = import_module(name)
    lines = [f"# {name}", "", "```{eval-rst}", f".. py:module:: {name}", "", first_paragraph(module), ""]
    elsewhere = []
    for member in public_names(module):
        value = getattr(module, member)
        if id(value) in described:
            elsewhere.append(f":py:obj:`{described[id(value)]}`")
            continue
        described[id(value)] = f"{name}.{member}"
        lines += [f".. {kind_of(value)}:: {name}.{member}", ""]
    if elsewhere:
        lines += [f"This module also contains {', '.join(elsewhere)}.", ""]
    return "\n".join([*lines, "```", ""])


def first_paragraph(module: ModuleType) -> str:
    """Return the first paragraph of a module's docstring, on one line."""
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")


def write_api_pages(folder: Path) -> list[str]:
    """Write the pages of all modules and their index; return the names of the pages, the index first."""
    folder.mkdir(parents=True)
    described: dict[int, str] = {}
    for name in MODULES:
        folder.joinpath(f"{name}.md").write_text(module_page(name, described), encoding="utf-8")
    rows = [f"| [{name}]({name}.md) | {first_paragraph(import_module(name))} |" for name in MODULES]
    tree = ["", "```{toctree}", ":hidden:", "", *MODULES, "```", ""]
    head = ["# API", "", "The public modules and their docstrings.", "", "| module | content |", "|---|---|"]
    folder.joinpath("index.md").write_text("\n".join([*head, *rows, *tree]), encoding="utf-8")
    return ["api/index"]
