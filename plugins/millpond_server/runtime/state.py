"""State: the shared state of a running server."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond_server.batches.service import BatchService
from millpond_server.http.body import BodyMemoryBudget
from millpond_server.http.slow_readers import SlowReaders
from millpond_server.http.token_ids import TokenIdCheck
from millpond_server.observability.access_log import AccessLog
from millpond_server.observability.metrics import Metrics
from millpond_server.runtime.models import Models
from millpond_server.runtime.settings import Settings

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing


@dataclass
class State:
    """The shared state of a running server.

    Attributes:
        settings: The settings of the server.
        models: The served models.
        tracing: The tracing of requests; None if it is disabled.
        metrics: The metrics.
        log: The access log.
        token_ids: The check for token ids in bodies.
        body_memory: The memory of request bodies.
        slow_readers: The connections with responses that wait for their clients.
        unhealthy: The names of the models that do not work, with the reason.
        refusing: The names of the models that accept no requests at present.
        draining: True once the server was asked to stop.
        running: The number of running requests.
        batches: The files and batches of clients; None without ``--batch-dir``.
        end: Ends the server at once with an exit code. Thread-safe.
    """

    settings: Settings
    models: Models
    tracing: "Tracing | None" = None
    metrics: Metrics = field(init=False)
    log: AccessLog = field(init=False)
    token_ids: TokenIdCheck = field(init=False)
    body_memory: BodyMemoryBudget = field(init=False)
    slow_readers: SlowReaders = field(init=False)
    unhealthy: dict[str, str] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)
    draining: bool = False
    running: int = 0
    batches: BatchService | None = None
    end: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.models)
        self.log = AccessLog(self.settings.log_format)
        self.token_ids = TokenIdCheck(is_rejected=self.settings.reject_token_ids)
        self.body_memory = BodyMemoryBudget(self.settings.limits)
        self.slow_readers = SlowReaders(self.settings.limits.unread_bytes)
