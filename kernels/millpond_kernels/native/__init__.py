"""The compiled CPU kernels: the library for this processor, loaded by ctypes, called without the interpreter lock."""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

INT = ctypes.c_int64
FLOAT = ctypes.c_float
POINTER = ctypes.c_void_p
# What torch calls the processor's vectors -> the library that was compiled for them (LEVELS in hatch_build.py).
LIBRARIES = {"AVX512": "kernels-x86-64-v4.so", "AVX2": "kernels-x86-64-v3.so"}
FOLDER = Path(__file__).parent


def capability() -> str:
    """The processor's vectors, as torch names them: "AVX512", "AVX2", "DEFAULT" ..."""
    import torch  # noqa: PLC0415  listing kernels needs none

    return torch.backends.cpu.get_cpu_capability()


@cache
def library() -> ctypes.CDLL:
    """The shared library for this processor, compiled when Millpond was built.

    Raises:
        OSError: If there is none, or it does not load.
    """
    name = LIBRARIES.get(capability())
    if name is None:
        message = f"no kernels are compiled for {capability()}: only for {', '.join(LIBRARIES)}"
        raise OSError(message)
    return ctypes.CDLL(str(FOLDER / name))


def availability() -> bool | str:
    """True if the compiled kernels can be used here, else why not; MILLPOND_NO_NATIVE=1 forbids them."""
    if os.environ.get("MILLPOND_NO_NATIVE", "0") not in ("", "0"):
        return "is switched off by MILLPOND_NO_NATIVE"
    try:
        library()
    except OSError as error:
        return f"was not compiled when millpond was built, or does not load ({error})"
    return True


def int8_availability() -> bool | str:
    """True if the compiled kernels of 8-bit integers can be used here, else why not."""
    compiled = availability()
    if compiled is not True:
        return compiled
    return function("millpond_linear_int8_panel", returns=INT)() > 0 or "needs a processor with AVX-512 VNNI"


def is_available() -> bool:
    """Whether the compiled kernels can be used."""
    return availability() is True


def function(name: str, *arguments: Any, returns: Any = None) -> Callable[..., Any]:
    """A function of the library, with the types of its arguments and of its result."""
    found = library()[name]
    found.argtypes = arguments
    found.restype = returns
    return found
