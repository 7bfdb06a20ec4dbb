"""The compiled CPU kernels: the library for this processor, loaded by ctypes, called without the interpreter lock."""

import ctypes
import logging
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

INT = ctypes.c_int64
FLOAT = ctypes.c_float
POINTER = ctypes.c_void_p
# What torch calls the processor's vectors -> the library that was compiled for them (LEVELS in hatch_build.py).
LIBRARIES = {"AVX512": "kernels-x86-64-v4.so", "AVX2": "kernels-x86-64-v3.so"}
FOLDER = Path(__file__).parent
# Values of MILLPOND_CPU_LEVEL -> torch's name of the vectors that the compiled kernels may use at most.
LEVEL_VARIABLE = "MILLPOND_CPU_LEVEL"
LEVELS = {"default": "DEFAULT", "avx2": "AVX2", "avx_vnni": "AVX2", "avx512": "AVX512", "avx512_vnni": "AVX512"}
# Vectors -> the processor flag of the instruction that adds products of bytes to sums of 32 bits (vpdpbusd).
DOT_PRODUCT_FLAGS = {"AVX512": "avx512_vnni", "AVX2": "avx_vnni"}

logger = logging.getLogger(__name__)


def capability() -> str:
    """The processor's vectors, as torch names them: "AVX512", "AVX2", "DEFAULT" ...; MILLPOND_CPU_LEVEL lowers them."""
    import torch  # noqa: PLC0415  listing kernels needs none

    detected = torch.backends.cpu.get_cpu_capability()
    ascending = [*dict.fromkeys(LEVELS.values())]
    limit = LEVELS.get(cpu_level(), detected)
    return min(detected, limit, key=ascending.index) if detected in ascending else detected


def cpu_level() -> str:
    """The value of MILLPOND_CPU_LEVEL; empty if it is unset or unknown."""
    level = os.environ.get(LEVEL_VARIABLE, "")
    if level and level not in LEVELS:
        _warn_of_level(level)
        return ""
    return level


@cache
def _warn_of_level(level: str) -> None:
    logger.warning("%s=%s is ignored: unknown level. Available: %s", LEVEL_VARIABLE, level, ", ".join(LEVELS))


def processor_flags() -> "Mapping[str, object]":
    """The instruction sets of this processor, as torch.cpu.get_capabilities() names them."""
    import torch  # noqa: PLC0415  listing kernels needs none

    capabilities: Callable[[], Mapping[str, object]] | None = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # torch before 2.11 knows this one alone
        return {"avx512_vnni": torch.cpu._is_vnni_supported()}  # noqa: SLF001
    return capabilities()


def has_dot_products(vectors: str) -> bool:
    """True if such vectors can add products of bytes to 32-bit sums (VNNI); MILLPOND_CPU_LEVEL may forbid it."""
    flag = DOT_PRODUCT_FLAGS.get(vectors, "")
    level = cpu_level()
    allowed = not level or level in ("avx512_vnni", flag)
    return allowed and bool(processor_flags().get(flag, False))


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


def int8_dot_products() -> bool:
    """True if the compiled linear maps of 8-bit integers use VNNI here; else their weights must suit 16-bit sums."""
    compiled = function("millpond_linear_int8_dot_products", returns=INT)() > 0
    return compiled and has_dot_products(capability())


def int8_attention_availability() -> bool | str:
    """True if attention in 8-bit integers can be used here, else why not."""
    compiled = availability()
    if compiled is not True:
        return compiled
    vectors = capability()
    return (vectors == "AVX512" and has_dot_products(vectors)) or "needs a processor with AVX-512 VNNI"


def torch_int8_availability() -> bool | str:
    """True if torch multiplies 8-bit integers by instructions made for it, else why not.

    Without AVX-512 VNNI its product is a loop over single numbers, tens of times slower than one of floats.
    """
    return has_dot_products("AVX512") or "needs a processor with AVX-512 VNNI: elsewhere torch's product is a slow loop"


def is_available() -> bool:
    """Whether the compiled kernels can be used."""
    return availability() is True


def function(name: str, *arguments: Any, returns: Any = None) -> Callable[..., Any]:
    """A function of the library, with the types of its arguments and of its result."""
    found = library()[name]
    found.argtypes = arguments
    found.restype = returns
    return found
