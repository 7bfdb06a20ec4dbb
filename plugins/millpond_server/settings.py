"""How a server is run: addresses, keys, limits. Knows nothing of models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MEBIBYTE = 2**20


class Limits(BaseModel):
    """What one request may ask for, and how much may wait.

    Attributes:
        body_bytes: The largest body.
        inputs: The most texts of a request.
        tokens: The most tokens of a request.
        documents: The most documents of a request that ranks.
        queue_wait: The longest wait that is predicted for a request, in seconds, before it is refused.
        body_seconds: How long a body may take to arrive.
        drain_seconds: How long requests that run may take after the server was told to stop.
        request_seconds: How long a request may take, where its header does not say; None for ever.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: Annotated[int, Field(ge=1)] = 32 * MEBIBYTE
    inputs: Annotated[int, Field(ge=1)] = 2048
    tokens: Annotated[int, Field(ge=1)] = 300_000
    documents: Annotated[int, Field(ge=1)] = 1024
    queue_wait: Annotated[float, Field(gt=0)] = 10.0
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    drain_seconds: Annotated[int, Field(ge=0)] = 30
    request_seconds: Annotated[float, Field(gt=0)] | None = None


class Settings(BaseModel):
    """How a server is run.

    Attributes:
        host: The address that is listened on.
        port: The port; 0 for any that is free.
        uds: The path of a Unix socket, instead of both.
        api_keys: The keys that may be used; none for an open server.
        routes: The installed plugins whose routes are mounted.
        overload_status: The status of an answer to what does not fit into the queue.
        limits: What one request may ask for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    uds: str | None = None
    api_keys: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    overload_status: int = 503
    limits: Limits = Limits()
