"""State: the parts of a running server, and what they know of one another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond_server.http.body import Intake
from millpond_server.http.token_ids import TokenIds
from millpond_server.observability.access_log import AccessLog
from millpond_server.observability.metrics import Metrics
from millpond_server.runtime.models import Models
from millpond_server.runtime.settings import Settings

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing


@dataclass
class State:
    """The parts of a running server, and what they know of one another.

    Attributes:
        settings: How it is run.
        models: Its models.
        traces: Traces requests; None without tracing.
        metrics: What it measures.
        log: The access log.
        token_ids: Finds token ids in bodies.
        intake: The bodies that are being read, and the large ones that are being served.
        unhealthy: The models that do not work, and why.
        refusing: The models that take no requests at present.
        draining: True once it was told to stop.
        running: The number of requests that are being served.
        end: Ends the server at once, with an exit code; any thread may call it.
    """

    settings: Settings
    models: Models
    traces: "Tracing | None" = None
    metrics: Metrics = field(init=False)
    log: AccessLog = field(init=False)
    token_ids: TokenIds = field(init=False)
    intake: Intake = field(default_factory=Intake)
    unhealthy: dict[str, str] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)
    draining: bool = False
    running: int = 0
    end: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.models)
        self.log = AccessLog(self.settings.log_format)
        self.token_ids = TokenIds(rejected=self.settings.reject_token_ids)
