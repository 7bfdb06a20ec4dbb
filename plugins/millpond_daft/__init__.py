"""MillpondProvider: the models of Millpond in Daft's functions `embed_text`, `embed_image` and `classify_text`.

`encode` is a function for any task, also for those of plugins.

Needs the extra `daft`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from millpond_command.extras import install_command

if TYPE_CHECKING:
    from millpond_daft.provider import MillpondProvider as MillpondProvider
    from millpond_daft.tasks import encode as encode
else:
    _HOME = {"MillpondProvider": "millpond_daft.provider", "encode": "millpond_daft.tasks"}
    __all__ = list(_HOME)

    def __getattr__(name: str) -> object:
        """Import a public name at its first use: torch and Daft are not imported with the package."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if find_spec("daft") is None:
            raise ModuleNotFoundError(f"{name} needs daft: {install_command('daft')}", name="daft")
        return getattr(import_module(_HOME[name]), name)

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
