"""Conversion of call arguments about tokenization to pooling parameters."""

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from millpond.types.params import PoolingParams, validated

Params = PoolingParams | Sequence[PoolingParams | None] | None
NO_TRUNCATION = (False, "do_not_truncate")  # values of ``truncation`` with which transformers ignores ``max_length``
# Values of vLLM's other tokenization_kwargs that request the default behaviour.
DEFAULTS: Mapping[str, tuple[object, ...]] = {
    "do_lower_case": (False, None),
    "needs_detokenization": (True, False),
    "truncation": (None, *NO_TRUNCATION),
}

SUPPORTED = ("truncate_prompt_tokens", "truncation_side", "pad_prompt_tokens", "add_special_tokens")
PADDING: Mapping[object, int | None] = {None: None, False: 0, "do_not_pad": 0, True: -1, "max_length": -1}
"""Values of ``padding``, as ``pad_prompt_tokens``."""

PROMPT_FIELDS = frozenset({"prompt", "prompt_name"})  # alternatives: a prompt's text, or its name


def with_settings(params: Params, settings: Mapping[str, Any]) -> Params:
    """Return the parameters with settings of the call; fields that the parameters set themselves take precedence."""
    if not settings:
        return params
    # One by one, so that an error names the argument of the call.
    each = [_with_number(name, value) if type(value) is int else _with(name, value) for name, value in settings.items()]
    if params is None and len(each) == 1:
        return each[0]
    if isinstance(params, Sequence) and all(one is None or isinstance(one, PoolingParams) for one in params):
        return [_with_settings(one, settings) for one in params]
    return _with_settings(params, settings) if params is None or isinstance(params, PoolingParams) else params


def _with(name: str, value: object) -> PoolingParams:
    """Return parameters with one field."""
    return validated(PoolingParams, {name: value}, parameter=name)


# Calls with the same number, such as truncate_prompt_tokens=-1, share one object: tasks complete it only once.
_with_number = lru_cache(maxsize=64)(_with)


def _with_settings(params: PoolingParams | None, settings: Mapping[str, Any]) -> PoolingParams:
    # A new object, so that the settings are validated and the caller's object is not changed.
    fields = {} if params is None else params.model_dump(exclude_none=True)
    if fields.keys() & PROMPT_FIELDS:
        settings = {name: value for name, value in settings.items() if name not in PROMPT_FIELDS}
    return validated(PoolingParams, {**settings, **fields}, parameter="pooling_params")


def truncation_settings(truncate: int | None, tokenization_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a call's ``truncate_prompt_tokens`` and vLLM's ``tokenization_kwargs`` as fields of pooling parameters."""
    settings: dict[str, Any] = {}
    kwargs = tokenization_kwargs or {}
    for name, value in kwargs.items():
        if name in SUPPORTED:
            settings[name] = value
        elif name == "padding" and isinstance(value, str | bool | None) and value in PADDING:
            settings.setdefault("pad_prompt_tokens", PADDING[value])
        elif name == "truncation" and value in (True, "longest_first"):
            settings.setdefault("truncate_prompt_tokens", -1)
        elif name == "max_length":
            if value is not None and kwargs.get("truncation") not in NO_TRUNCATION:
                settings["truncate_prompt_tokens"] = value
        elif value not in DEFAULTS.get(name, ()):
            warnings.warn(f"tokenization_kwargs: {name!r} has no effect", stacklevel=7)
    if truncate is not None:
        settings["truncate_prompt_tokens"] = truncate
    return settings
