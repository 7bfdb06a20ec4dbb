"""Admission: whether a request is taken, before any work is done for it."""

from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError


def admit(call: Call, *, seconds: float | None) -> None:
    """Refuse a request whose model takes nothing, or that would wait too long.

    Args:
        call: The request.
        seconds: How long it may take; None for ever.

    Raises:
        ApiError: 503, or what the settings say, with when to come again.
    """
    name, engine = call.served.name, call.served.llm.engine
    if call.state is not None and name in call.state.refusing:
        raise ApiError(503, f"the model {name} does not work at present", retry_after=1.0, reason="dead")
    wait = engine.expected_wait(call.priority)
    most = call.settings.limits.queue_wait
    if wait > most:
        message = f"the model is busy: a request would wait for {wait:.1f} seconds"
        raise ApiError(call.settings.overload_status, message, retry_after=wait - most, reason="queue")
    if seconds is not None and wait > seconds:
        message = f"the model is busy: a request would wait for {wait:.1f} seconds, and may take {seconds:g}"
        raise ApiError(call.settings.overload_status, message, retry_after=wait - seconds, reason="hopeless")
