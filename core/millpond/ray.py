"""Millpond on Ray: a second name of the plugin `millpond_ray`, for imports. Needs the extra `ray`."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond_ray import *  # noqa: F403  type checkers resolve the names
else:  # the same module, so that its names are listed in one place
    sys.modules[__name__] = import_module("millpond_ray")
