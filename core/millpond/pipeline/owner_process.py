"""OwnerProcess: the process that loaded a model; a fork of it has none of its threads."""

import os
from dataclasses import dataclass, field

from millpond.types.errors import EngineClosedError


@dataclass(frozen=True)
class OwnerProcess:
    """The process that loaded a model.

    Attributes:
        pid: Its process id.
    """

    pid: int = field(default_factory=os.getpid)

    @property
    def is_current(self) -> bool:
        """True in this process; False in a fork of it."""
        return os.getpid() == self.pid

    def check(self) -> None:
        """Refuse calls in a fork, where they would wait for threads that do not exist.

        Raises:
            EngineClosedError: If the present process is a fork.
        """
        if not self.is_current:
            message = (
                f"the model was loaded in process {self.pid}, and process {os.getpid()} is a fork of it without its "
                "threads: load the model after the fork, or start processes with "
                "multiprocessing.get_context('spawn')"
            )
            raise EngineClosedError(message)
