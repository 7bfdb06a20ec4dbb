"""The list of commands in ``millpond --help``, under the headings that their records state."""

from collections.abc import Iterable
from typing import Any, Final

HEADINGS: Final = ("Run models", "Serve and run in bulk", "Examine models", "Manage the installation")
"""The headings of built-in commands, in the order of the help. Those of other commands follow."""


def write_commands(formatter: Any, commands: Iterable[tuple[str, str, str]]) -> None:
    """Write the heading, name and summary of commands.

    Args:
        formatter: The formatter of the help.
        commands: The commands, in the order in which each heading lists them.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for heading, name, summary in commands:
        groups.setdefault(heading, []).append((name, summary))
    width = max((len(name) for rows in groups.values() for name, _ in rows), default=0)
    others = sorted(groups.keys() - set(HEADINGS))
    for heading in [*filter(groups.__contains__, HEADINGS), *others]:
        with formatter.section(heading):
            formatter.write_dl([(name.ljust(width), summary) for name, summary in groups[heading]])
