"""The compiled CPU kernels: loads the library for this processor with ctypes, which releases the interpreter lock."""

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

INT = ctypes.c_int64
FLOAT = ctypes.c_float
POINTER = ctypes.c_void_p
NEON = "NEON"
IS_ARM = platform.machine().lower() in ("aarch64", "arm64")
SUFFIX = ".dll" if sys.platform == "win32" else ".so"
# Vector extensions -> the library that is compiled for them (LEVELS in hatch_build.py). torch has the same names for
# those of x86-64, and does not name NEON, which all ARM processors of 64 bits have.
LIBRARIES = (
    {NEON: f"kernels-aarch64{SUFFIX}"}
    if IS_ARM
    else {"AVX512": f"kernels-x86-64-v4{SUFFIX}", "AVX2": f"kernels-x86-64-v3{SUFFIX}"}
)
FOLDER = Path(__file__).parent
# Value of MILLPOND_CPU_LEVEL -> the highest vector extensions that compiled kernels may use.
LEVEL_VARIABLE = "MILLPOND_CPU_LEVEL"
LEVELS = {
    "default": "DEFAULT",
    "avx2": "AVX2",
    "avx_vnni": "AVX2",
    "avx512": "AVX512",
    "avx512_vnni": "AVX512",
    "avx512_bf16": "AVX512",
    "neon": NEON,
    "dotprod": NEON,
    "i8mm": NEON,
}
ASCENDING = (("DEFAULT", "AVX2", "AVX512"), ("DEFAULT", NEON))
BF16_LEVEL = "avx512_bf16"  # also the processor flag of vdpbf16ps, which adds products of bfloat16 values
# Vector extensions -> the processor flag of vpdpbusd, which adds products of bytes to 32-bit sums.
DOT_PRODUCT_FLAGS = {"AVX512": "avx512_vnni", "AVX2": "avx_vnni"}
# Value of MILLPOND_CPU_LEVEL, ascending -> the processor flag of sdot and of smmla, which multiply bytes on ARM.
ARM_FLAGS = {"dotprod": "dot", "i8mm": "i8mm"}

logger = logging.getLogger(__name__)


def capability() -> str:
    """Return the vector extensions to use, such as "AVX2" or "NEON"; MILLPOND_CPU_LEVEL limits them."""
    detected = NEON if IS_ARM else _torch_capability()
    limit = LEVELS.get(cpu_level())
    ascending = next((names for names in ASCENDING if {detected, limit} <= {*names}), ())
    return min(detected, limit, key=ascending.index) if limit and ascending else detected


def _torch_capability() -> str:
    import torch  # noqa: PLC0415  listing kernels does not need it

    return torch.backends.cpu.get_cpu_capability()


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
    allowed = not level or level in ("avx512_vnni", BF16_LEVEL, flag)
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
    vectors = capability()
    if vectors in LIBRARIES and not (FOLDER / LIBRARIES[vectors]).is_file():
        return "is not part of this installation: Millpond was built without a C compiler, or for all platforms"
    try:
        library()
    except OSError as error:
        return f"does not load ({error})"
    return True


def int8_dot_products() -> int:
    """Return the instructions that compiled int8 linear layers use: ``dot_products`` of int8_tile.h, 0 for none."""
    compiled: int = function("millpond_linear_int8_dot_products", returns=INT)()
    vectors = capability()
    return min(compiled, _arm_dot_products() if vectors == NEON else has_dot_products(vectors))


def _arm_dot_products() -> int:
    """Return 2 for smmla, 1 for sdot, or 0; MILLPOND_CPU_LEVEL limits them."""
    level, names = cpu_level(), [*ARM_FLAGS]
    allowed = {"neon": 0, **{name: number for number, name in enumerate(names, 1)}}.get(level, len(names))
    flags = processor_flags()
    return sum(bool(flags.get(ARM_FLAGS[name])) for name in names[:allowed])


def limits_int8_weights() -> bool:
    """Return True if products of int8 weights are added in 16 bits, which limits the weights (int8_tile.h)."""
    return capability() != NEON and int8_dot_products() == 0


def bf16_dot_products() -> bool:
    """Return True if the compiled linear layers use the processor's instruction for products of bfloat16 values."""
    compiled = function("millpond_linear_bf16_dot_products", returns=INT)() > 0
    allowed = cpu_level() in ("", BF16_LEVEL)
    return compiled and allowed and bool(processor_flags().get(BF16_LEVEL, False))


def int8_attention_availability() -> bool | str:
    """Return True if attention in 8-bit integers is available, else the reason."""
    compiled = availability()
    if compiled is not True:
        return compiled
    vectors = capability()
    return (vectors == "AVX512" and has_dot_products(vectors)) or "needs a processor with AVX-512 VNNI"


def bf16_attention_availability() -> bool | str:
    """Return True if attention in bfloat16 is available, else the reason."""
    compiled = availability()
    if compiled is not True:
        return compiled
    return bf16_dot_products() or "needs a processor with AVX512-BF16"


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
