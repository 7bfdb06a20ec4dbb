"""ParallelOptions: the engine processes of a model, and their devices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millpond.types.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class ParallelOptions:
    """The engine processes of a model.

    Attributes:
        size: The number of engine processes; 1 to compute in the caller's process.
        backend: The name of the executor that starts them.
        devices: The device of each process; empty to derive them from the device of the model.
    """

    size: int = 1
    backend: str = "mp"
    devices: tuple[str, ...] = ()

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> "ParallelOptions":
        """Read the arguments ``data_parallel_size``, ``data_parallel_backend``, ``devices`` and ``device`` of LLM.

        Raises:
            InvalidInputError: If one is invalid, or they contradict each other.
        """
        size, devices = arguments["data_parallel_size"], _names(arguments["devices"])
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            message = f"data_parallel_size={size!r}: expected a positive integer"
            raise InvalidInputError(message, parameter="data_parallel_size")
        if devices and size not in (1, len(devices)):
            message = f"data_parallel_size={size}, but devices names {len(devices)}: pass one device for each engine"
            raise InvalidInputError(message, parameter="devices")
        if devices and arguments["device"] != "auto":
            message = f"device={arguments['device']!r} and devices={','.join(devices)!r}: pass one of them"
            raise InvalidInputError(message, parameter="devices")
        return cls(size=max(size, len(devices)), backend=str(arguments["data_parallel_backend"]), devices=devices)


def _names(devices: object) -> tuple[str, ...]:
    """Return the names in a list, or in text with commas.

    Raises:
        InvalidInputError: If it is something else.
    """
    if devices is None:
        return ()
    values = devices.split(",") if isinstance(devices, str) else devices
    items = values if isinstance(values, list | tuple) else ()
    names = tuple(it.strip() if isinstance(it, str) else "" for it in items)
    if not names or not all(names):
        message = f"devices={devices!r}: expected names such as 'cuda:0,cuda:1'"
        raise InvalidInputError(message, parameter="devices")
    return names
