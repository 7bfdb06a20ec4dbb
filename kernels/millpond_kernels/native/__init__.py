"""The compiled CPU kernels: loads the library for this processor with ctypes, which releases the interpreter lock."""

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
# torch's name of the vector extensions -> the library that is compiled for them (LEVELS in hatch_build.py).
LIBRARIES = {"AVX512": "kernels-x86-64-v4.so", "AVX2": "kernels-x86-64-v3.so"}
FOLDER = Path(__file__).parent
# Value of MILLPOND_CPU_LEVEL -> torch's name of the highest vector extensions that compiled kernels may use.
LEVEL_VARIABLE = "MILLPOND_CPU_LEVEL"
LEVELS = {"default": "DEFAULT", "avx2": "AVX2", "avx_vnni": "AVX2", "avx512": "AVX512", "avx512_vnni": "AVX512"}
# Vector extensions -> the processor flag of vpdpbusd, which adds products of bytes to 32-bit sums.
DOT_PRODUCT_FLAGS = {"AVX512": "avx512_vnni", "AVX2": "avx_vnni"}

logger = logging.getLogger(__name__)


def capability() -> str:
    """Return torch's name of the vector extensions to use, such as "AVX2"; MILLPOND_CPU_LEVEL limits them."""
    import torch  # noqa: PLC0415  listing kernels does not need it

    detected = torch.backends.cpu.get_cpu_capability()
    ascending = [*dict.fromkeys(LEVELS.values())]
    limit = LEVELS.get(cpu_level(), detected)
    return min(detected, limit, key=ascending.index) if detected in ascending else detected


def cpu_level() -> str:
    """Return the value of MILLPOND_CPU_LEVEL; empty if it is missing or unknown."""
    level = os.environ.get(LEVEL_VARIABLE, "")
    if level and level not in LEVELS:
        _warn_of_level(level)
        return ""
    return level


@cache
def _warn_of_level(level: str) -> None:
    logger.warning("%s=%s is ignored: unknown level. Available: %s", LEVEL_VARIABLE, level, ", ".join(LEVELS))


def processor_flags() -> "Mapping[str, object]":
    """Return the instruction sets of this processor in the format of torch.cpu.get_capabilities()."""
    import torch  # noqa: PLC0415  listing kernels does not need it

    capabilities: Callable[[], Mapping[str, object]] | None = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # torch before 2.11 only reports this one
        return {"avx512_vnni": torch.cpu._is_vnni_supported()}  # noqa: SLF001
    return capabilities()


def has_dot_products(vectors: str) -> bool:
    """Return True if VNNI is available for these vector extensions and not disabled by MILLPOND_CPU_LEVEL."""
    flag = DOT_PRODUCT_FLAGS.get(vectors, "")
    level = cpu_level()
    allowed = not level or level in ("avx512_vnni", flag)
    return allowed and bool(processor_flags().get(flag, False))


@cache
def library() -> ctypes.CDLL:
    """Load the shared library for this processor, compiled when Millpond was built.

    Raises:
        OSError: If it is missing or cannot be loaded.
    """
    name = LIBRARIES.get(capability())
    if name is None:
        message = f"no kernels are compiled for {capability()}. Available: {', '.join(LIBRARIES)}"
        raise OSError(message)
    return ctypes.CDLL(str(FOLDER / name))


def availability() -> bool | str:
    """Return True if the compiled kernels are available, else the reason; MILLPOND_NO_NATIVE=1 disables them."""
    if os.environ.get("MILLPOND_NO_NATIVE", "0") not in ("", "0"):
        return "is switched off by MILLPOND_NO_NATIVE"
    try:
        library()
    except OSError as error:
        return f"was not compiled when millpond was built, or does not load ({error})"
    return True


def int8_dot_products() -> bool:
    """Return True if the compiled int8 linear layers use VNNI; else their weights must fit 16-bit sums."""
    compiled = function("millpond_linear_int8_dot_products", returns=INT)() > 0
    return compiled and has_dot_products(capability())


def int8_attention_availability() -> bool | str:
    """Return True if attention in 8-bit integers is available, else the reason."""
    compiled = availability()
    if compiled is not True:
        return compiled
    vectors = capability()
    return (vectors == "AVX512" and has_dot_products(vectors)) or "needs a processor with AVX-512 VNNI"


def torch_int8_availability() -> bool | str:
    """Return True if torch multiplies 8-bit integers with dedicated instructions, else the reason.

    Without AVX-512 VNNI, torch's integer product is a scalar loop, tens of times slower than a product of floats.
    """
    return has_dot_products("AVX512") or "needs a processor with AVX-512 VNNI: elsewhere torch's product is a slow loop"


def is_available() -> bool:
    """Return True if the compiled kernels are available."""
    return availability() is True


def function(name: str, *arguments: Any, returns: Any = None) -> Callable[..., Any]:
    """Return a function of the library with the types of its arguments and its result."""
    symbol = library()[name]
    symbol.argtypes = arguments
    symbol.restype = returns
    return symbol
