"""State: what the parts of a running server know of one another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond_server.http.body import Intake
from millpond_server.http.token_ids import TokenIds
from millpond_server.observability.access_log import AccessLog
from millpond_server.observability.metrics import Metrics
from millpond_server.runtime.models import Models

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing


@dataclass(kw_only=True)
class State:
    """What the parts of a running server know of one another.

    Attributes:
        models: Its models.
        metrics: What it measures.
        log: Where it writes its lines.
        draining: Whether it was told to stop.
        ailing: Why models are not well, by their names.
        refusing: The models that take nothing at present, by their names.
        traces: What traces requests; None if nobody asks for traces.
        token_ids: What looks for token ids in bodies.
        running: The requests that are served at present.
        intake: The bodies that are being read, and the large ones that are being served.
        end: Ends the server at once, with an exit code; any thread may call it.
    """

    models: Models
    metrics: Metrics
    log: AccessLog
    draining: bool = False
    ailing: dict[str, str] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)
    traces: "Tracing | None" = None
    token_ids: TokenIds = field(default_factory=lambda: TokenIds(rejected=False))
    running: int = 0
    intake: Intake = field(default_factory=Intake)
    end: Callable[[int], None] = lambda _: None
