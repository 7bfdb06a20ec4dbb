"""The options ``--quiet`` and ``--progress`` of commands that take long."""

from dataclasses import dataclass
from typing import Annotated

from millpond_command.declare import option


@dataclass(frozen=True, kw_only=True)
class ProgressOptions:
    """Options for progress and warnings on stderr."""

    quiet: Annotated[bool, option("Output", "--quiet", "-q", help="Hide progress and warnings; show only errors.")] = (
        False
    )
    progress: Annotated[
        bool | None,
        option("Output", "--progress/--no-progress", help="Show progress on stderr. (default: on a terminal)"),
    ] = None

    @property
    def shows_progress(self) -> bool | None:
        """True to show progress; None to show it on a terminal."""
        return False if self.quiet and self.progress is None else self.progress
