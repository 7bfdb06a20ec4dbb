"""How the front doors' arguments about tokenising become pooling parameters."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from millpond.types.params import PoolingParams, validated

Params = PoolingParams | Sequence[PoolingParams | None] | None
UNCUT = (False, "do_not_truncate")  # values of ``truncation``, with which transformers does not look at ``max_length``
# Values of vLLM's other tokenization_kwargs that ask for what happens anyway.
DEFAULTS: Mapping[str, tuple[object, ...]] = {
    "do_lower_case": (False, None),
    "needs_detokenization": (True, False),
    "truncation": (None, *UNCUT),
}

TAKEN = ("truncate_prompt_tokens", "truncation_side", "pad_prompt_tokens", "add_special_tokens")
PADDING: Mapping[object, int | None] = {None: None, False: 0, "do_not_pad": 0, True: -1, "max_length": -1}
"""Values of ``padding``, as ``pad_prompt_tokens``."""

PROMPT_FIELDS = frozenset({"prompt", "prompt_name"})  # two ways to say one thing


def with_settings(params: Params, settings: Mapping[str, Any]) -> Params:
    """The parameters with what the call says for all of them; what the parameters say themselves counts more."""
    if not settings:
        return params
    # One by one, so that an error is that of the call's own argument.
    each = [validated(PoolingParams, {name: value}, parameter=name) for name, value in settings.items()]
    if params is None and len(each) == 1:
        return each[0]
    if isinstance(params, Sequence) and all(own is None or isinstance(own, PoolingParams) for own in params):
        return [_with(own, settings) for own in params]
    return _with(params, settings) if params is None or isinstance(params, PoolingParams) else params


def _with(params: PoolingParams | None, settings: Mapping[str, Any]) -> PoolingParams:
    # Built anew, so that what is added is validated and what was passed stays as it is.
    given = {} if params is None else params.model_dump(exclude_none=True)
    if given.keys() & PROMPT_FIELDS:
        settings = {name: value for name, value in settings.items() if name not in PROMPT_FIELDS}
    return validated(PoolingParams, {**settings, **given}, parameter="pooling_params")


def truncation_settings(truncate: int | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A call's ``truncate_prompt_tokens``, and vLLM's ``tokenization_kwargs``, as pooling parameters."""
    settings: dict[str, Any] = {}
    given = given or {}
    for name, value in given.items():
        if name in TAKEN:
            settings[name] = value
        elif name == "padding" and isinstance(value, str | bool | None) and value in PADDING:
            settings.setdefault("pad_prompt_tokens", PADDING[value])
        elif name == "truncation" and value in (True, "longest_first"):
            settings.setdefault("truncate_prompt_tokens", -1)
        elif name == "max_length":
            if value is not None and given.get("truncation") not in UNCUT:
                settings["truncate_prompt_tokens"] = value
        elif value not in DEFAULTS.get(name, ()):
            warnings.warn(f"tokenization_kwargs: {name!r} has no effect", stacklevel=6)
    if truncate is not None:
        settings["truncate_prompt_tokens"] = truncate
    return settings
