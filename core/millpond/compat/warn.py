"""warn_caller: raise a DeprecationWarning that points to the line that uses an old name."""

import sys
import warnings
from pathlib import Path
from types import CodeType
from typing import Final

_SKIPPED: Final = (str(Path(__file__).parent), "<frozen ")
_MODULES: Final = ("millpond", "millpond.async_llm", "dataclasses", "importlib")


def warn_caller(message: str) -> None:
    """Warn at the first line outside this package, ``__init__`` of dataclasses and importlib.

    Args:
        message: The old name, and the new one.
    """
    frame = sys._getframe(1)  # noqa: SLF001  inspect imports much more
    while frame.f_back is not None and _is_skipped(frame.f_code, frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        DeprecationWarning,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_skipped(code: CodeType, module: str) -> bool:
    is_hook = code.co_name in ("__post_init__", "__getattr__") or code.co_filename + code.co_name == "<string>__init__"
    return is_hook or code.co_filename.startswith(_SKIPPED) or module in _MODULES
