"""Names of kernel features before 0.2, with a DeprecationWarning."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from millpond.compat.warn import warn_caller

RENAMED: Final[Mapping[str, str]] = MappingProxyType({"hidden_tokens": "masked_tokens"})


def current_features(features: tuple[str, ...]) -> tuple[str, ...]:
    """Return features by their present names.

    Args:
        features: The features of a kernel, or those that a model requires.
    """
    for old in RENAMED.keys() & set(features):
        warn_caller(f"the kernel feature {old!r} was renamed: use {RENAMED[old]!r}")
    return tuple(RENAMED.get(name, name) for name in features)
