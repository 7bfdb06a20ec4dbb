"""Wrappers for mteb: evaluate embedding models, cross-encoders and late-interaction models with Millpond.

Needs the extra `mteb`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from millpond_command.extras import install_command

if TYPE_CHECKING:
    from millpond_mteb.cross_encoder import MillpondCrossEncoder as MillpondCrossEncoder
    from millpond_mteb.encoder import MillpondEncoder as MillpondEncoder
    from millpond_mteb.multi_vector import MillpondMultiVector as MillpondMultiVector
else:
    _HOME = {
        "MillpondCrossEncoder": "millpond_mteb.cross_encoder",
        "MillpondEncoder": "millpond_mteb.encoder",
        "MillpondMultiVector": "millpond_mteb.multi_vector",
    }
    __all__ = list(_HOME)

    def __getattr__(name: str) -> object:
        """Import a public name at its first use: torch and mteb are not imported with the package."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if find_spec("mteb") is None:
            raise ModuleNotFoundError(f"{name} needs mteb: {install_command('mteb')}", name="mteb")
        return getattr(import_module(_HOME[name]), name)

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
