"""Functions and options of the Jinja environment of chat templates, equal to those of transformers."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NoReturn


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, like the filter ``tojson`` of transformers."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: object) -> NoReturn:
    from jinja2 import TemplateError  # noqa: PLC0415  most models have no template

    raise TemplateError(str(message))


def _now(date_format: str) -> str:
    return datetime.now().astimezone().strftime(date_format)


OPTIONS: Mapping[str, Any] = MappingProxyType(
    {"trim_blocks": True, "lstrip_blocks": True, "extensions": ("jinja2.ext.loopcontrols",)}
)
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({"raise_exception": _raise, "strftime_now": _now})
