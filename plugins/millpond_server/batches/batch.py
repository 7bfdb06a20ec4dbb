"""Batch: the state of a batch, and its JSON in OpenAI's API."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from millpond_server.batches.entries import MAX_TIME

Owner = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Time = Annotated[int, Field(ge=0, le=MAX_TIME)]
Count = Annotated[int, Field(ge=0, le=MAX_TIME)]

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
ENDED: frozenset[Status] = frozenset({"failed", "completed", "expired", "cancelled"})


@dataclass
class Counts:
    """The requests of a batch.

    Attributes:
        total: Their number.
        completed: Those with a result.
        failed: Those with an error.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    total: Count = 0
    completed: Count = 0
    failed: Count = 0


@dataclass
class Batch:
    """A batch.

    Attributes:
        id: Its id.
        owner: The hash of the API key that it belongs to.
        endpoint: The path that its requests go to.
        input_file_id: The file with the requests.
        completion_window: The time it may take, such as "24h".
        status: Its status.
        created_at: The time of its creation, in seconds since 1970.
        expires_at: The time after which the rest of its requests expire.
        metadata: Values of the client.
        counts: Its requests.
        times: The time of each status it has had, such as ``in_progress_at``.
        output_file_id: The file with results; None before the end, or if the file would be empty.
        error_file_id: The file with errors; None before the end, or if the file would be empty.
        errors: The reasons of a failed batch.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    id: str
    owner: Owner
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: Time
    expires_at: Time
    status: Status = "validating"
    metadata: Mapping[str, str] | None = None
    counts: Counts = field(default_factory=Counts)
    times: dict[str, Time] = field(default_factory=dict)
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """True if the status is final."""
        return self.status in ENDED

    def as_response(self) -> dict[str, Any]:
        """Return the batch as OpenAI's API describes it."""
        moments = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{f"{name}_at": self.times.get(f"{name}_at") for name in moments},
            "request_counts": asdict(self.counts),
            "metadata": self.metadata,
        }
