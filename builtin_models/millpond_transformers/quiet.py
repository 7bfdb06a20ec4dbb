"""Transformers without its progress bars and tables: what is wrong with a checkpoint is told by an error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as library


@contextmanager
def quiet() -> Iterator[None]:
    """Within it the library says nothing."""
    own, shown = logging.getLogger("transformers"), library.is_progress_bar_enabled()
    level = own.level
    own.setLevel(logging.CRITICAL)
    library.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        own.setLevel(level)
        if shown:
            library.enable_progress_bar()  # type: ignore[no-untyped-call]
