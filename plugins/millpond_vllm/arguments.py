"""The arguments of vLLM that Millpond does not implement: one table for ``LLM``, ``AsyncLLM`` and ``millpond serve``.

``arguments.toml`` contains the table. The names are the fields of vLLM's ``EngineArgs`` (0.6 to 0.33) and the options
of ``vllm serve``. An argument that is implemented is not in the table: ``ModelArgs`` and the options of ``millpond
serve`` declare it.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

from millpond_vllm.argument import Argument

_TABLE: Final[Mapping[str, Any]] = tomllib.loads(
    files("millpond_vllm").joinpath("arguments.toml").read_text(encoding="utf-8")
)


def _rows() -> Iterator[Argument]:
    """Yield every argument of the table, those without effect first."""
    for takes, forms in _TABLE["ignored"].items():
        for form, names in forms.items():
            for name in names:
                yield Argument(name=name, form=form, takes=takes)
    for row in _TABLE["refused"]:
        fields = {key: value for key, value in row.items() if key != "names"}
        if "accepted" in fields:
            fields["accepted"] = tuple(fields["accepted"])
        for name in row["names"]:
            yield Argument(name=name, **fields)


ARGUMENTS: Final[Mapping[str, Argument]] = {row.name: row for row in _rows()}
"""The arguments of vLLM that have no effect or are refused, by name."""

RENAMED: Final[Mapping[str, str]] = _TABLE["renamed"]
"""Arguments with a different name and the same meaning in Millpond."""

LOWERS: Final[Mapping[str, str]] = _TABLE["lowers"]
"""Arguments that lower another one, by the name of that one in Millpond; the smaller value of both is used."""

LOG_LEVEL: Final = "log_level"
"""The argument that sets the level of log messages."""

LOG_LEVELS: Final[Mapping[str, int]] = _TABLE["log_levels"]
"""The levels of log messages, by vLLM's names."""

SHORT_OPTIONS: Final[Mapping[str, str]] = _TABLE["short_options"]
"""Short options of ``vllm serve``."""

ATTENTION_BACKENDS: Final = frozenset(_TABLE["attention_backends"]["names"])
"""The names of vLLM's implementations of attention, which are ignored."""


def engine_argument(name: str) -> Argument | None:
    """Return an argument of ``LLM`` by name; None if it is unknown."""
    argument = ARGUMENTS.get(name)
    return None if argument is None or argument.takes == "server" else argument


def is_attention_backend(value: object) -> bool:
    """Return True if a value of ``attention_backend`` names an implementation of vLLM."""
    return str(getattr(value, "name", value)).upper() in ATTENTION_BACKENDS


def option(name: str) -> tuple[Argument, bool] | None:
    """Return the argument of an option, and False for its negation ``--no-...``; None if the option is unknown."""
    key = name.removeprefix("--").replace("-", "_")
    argument = ARGUMENTS.get(key)
    if argument is not None:
        return None if argument.takes == "engine" else (argument, True)
    argument = ARGUMENTS.get(key.removeprefix("no_"))
    return (argument, False) if argument is not None and argument.form == "flag" else None


def lower_of(value: object, other: object) -> int | None:
    """Return the smaller of a value and another number or None; None if the value is not a number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return None
    return min(value, other) if isinstance(other, int) else value


def log_level(value: object) -> int:
    """Return the level of log messages of a name, such as "debug", in any case; "trace" is "debug".

    Raises:
        ValueError: If it is unknown; lists the names.
    """
    level = LOG_LEVELS.get(str(value).lower())
    if level is None:
        message = f"Unknown log level {value!r}. Available: {', '.join(LOG_LEVELS)}"
        raise ValueError(message)
    return level


def value_of(text: str) -> object:
    """Return the value of the text of an option: JSON, None, or the text itself."""
    if text == "None":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"True": True, "False": False}.get(text, text)


def options() -> list[str]:
    """Return the options of ``vllm serve`` that only vLLM has."""
    names = [row.name for row in ARGUMENTS.values() if row.takes != "engine"]
    return [f"--{name.replace('_', '-')}" for name in (*names, *LOWERS, LOG_LEVEL)]
