"""Suppresses the progress bars and logs of transformers; problems with a checkpoint are reported as errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output of transformers."""
    logger, show_progress = logging.getLogger("transformers"), transformers_logging.is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logger.setLevel(level)
        if show_progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
