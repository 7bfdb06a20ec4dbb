"""Wrappers for mteb: a second name of `millpond_mteb`, under which programs import them. Needs the extra `mteb`."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond_mteb import *  # noqa: F403  type checkers resolve the names
else:  # the same module, so that its names are listed in one place
    sys.modules[__name__] = import_module("millpond_mteb")
