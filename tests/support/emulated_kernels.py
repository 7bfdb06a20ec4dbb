"""The compiled kernels of another processor, run in an emulator: a replacement for the library that ctypes loads."""

import ctypes
import importlib.util
import shutil
import struct
import subprocess
import sys
import threading
from array import array
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from millpond_kernels import native
from millpond_kernels.pooling import segment_pool

SOURCES = Path(native.__file__).parent
RUNNER = Path(__file__).with_name("run_kernels.c")
# Those of hatch_build.py, for a program.
FLAGS = ("-std=gnu11", "-O3", "-static", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-pthread")
LIBRARY = "kernels-aarch64.so"
# Value of MILLPOND_CPU_LEVEL -> a processor that has no further instructions for products.
PROCESSORS = {"neon": "cortex-a57", "dotprod": "neoverse-n1", "i8mm": "max"}
ADDRESS_BYTES = 8


def emulator():
    """Return the path of an emulator of ARM; the test is skipped without one."""
    path = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if path is None:
        pytest.skip("needs qemu-aarch64-static, from the Debian package qemu-user-static")
    return path


def cross_compiler(folder):
    """Return the command of a C compiler for ARM that can link a program; the test is skipped without one."""
    commands = [["aarch64-linux-gnu-gcc"]] if shutil.which("aarch64-linux-gnu-gcc") else []
    if importlib.util.find_spec("ziglang"):
        commands.append([sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl"])
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    for command in commands:
        options = ["-static", "-o", str(source.with_suffix("")), str(source)]
        if subprocess.run([*command, *options], check=False, capture_output=True).returncode == 0:
            return command
    pytest.skip("needs the Debian packages gcc-aarch64-linux-gnu and libc6-dev-arm64-cross, or the package ziglang")


def compile_runner(program):
    """Compile the kernels with the program that runs them."""
    sources = [RUNNER, *sorted(SOURCES.glob("*.c"))]
    options = [*FLAGS, "-DWIDTH=4", "-DHAVE_I8MM", "-I", str(SOURCES), "-o", str(program)]
    subprocess.run([*cross_compiler(program.parent), *options, *map(str, sources), "-lm"], check=True)


class Memory:
    """The memory whose addresses the kernels may receive: that of tensors, and of ctypes structures."""

    def __init__(self):
        self.starts, self.regions = [], {}  # the starts, sorted, and the size and structure (or None) of each
        self.lock = threading.RLock()

    def add(self, start, size, structure=None):
        """Add a region; it replaces regions in the same place, which have been freed."""
        if size == 0:
            return
        with self.lock:
            first = bisect_right(self.starts, start)
            if first and self.starts[first - 1] + self.regions[self.starts[first - 1]][0] > start:
                first -= 1
            last = bisect_left(self.starts, start + size)
            for freed in self.starts[first:last]:
                del self.regions[freed]
            self.starts[first:last] = [start]
            self.regions[start] = size, structure

    def find(self, address):
        """Return the start, the size and the structure of the region that contains an address."""
        with self.lock:
            index = bisect_right(self.starts, address) - 1
            start = self.starts[index] if index >= 0 else 0
            size, structure = self.regions.get(start, (0, None))
        assert start <= address < start + size, f"a kernel received {address:#x}, which no tensor or structure contains"
        return start, size, structure

    @contextmanager
    def recorded(self):
        """Add the memory of each tensor, structure and array of lengths whose address is read."""
        address_of_tensor, address_of_structure = torch.Tensor.data_ptr, ctypes.addressof

        def data_ptr(tensor):
            storage = tensor.untyped_storage()
            self.add(storage.data_ptr(), storage.nbytes())
            return address_of_tensor(tensor)

        def addressof(structure):
            self.add(address_of_structure(structure), ctypes.sizeof(structure), type(structure))
            return address_of_structure(structure)

        class Lengths(array):
            def buffer_info(lengths):  # noqa: N805  `self` is the memory
                start, count = array.buffer_info(lengths)
                self.add(start, count * lengths.itemsize)
                return start, count

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segment_pool, "array", Lengths)
            patch.setattr(torch.Tensor, "data_ptr", data_ptr)
            patch.setattr(ctypes, "addressof", addressof)
            yield


def offsets_of_addresses(structure):
    """Yield the offsets of all addresses in a ctypes structure."""
    for name, kind in structure._fields_:
        offset = getattr(structure, name).offset
        if kind is native.POINTER:
            yield offset
        elif hasattr(kind, "_fields_"):
            yield from (offset + inner for inner in offsets_of_addresses(kind))


class Call:
    """The memory that one call reads and writes, and the places of addresses in it."""

    def __init__(self, memory):
        self.memory, self.starts, self.contents, self.addresses = memory, [], [], []

    def place(self, address):
        """Return the region of an address and its offset there; -1 and 0 for NULL."""
        if not address:
            return -1, 0
        start, size, structure = self.memory.find(address)
        if start not in self.starts:
            self._add(start, size, structure)
        return self.starts.index(start), address - start

    def _add(self, start, size, structure):
        content = ctypes.string_at(start, size)
        number = len(self.starts)
        self.starts.append(start)
        self.contents.append(content)
        for offset in offsets_of_addresses(structure) if structure else ():
            address = int.from_bytes(content[offset : offset + ADDRESS_BYTES], sys.byteorder)
            self.addresses.append((number, offset, *self.place(address)))

    def message(self, name, integers, floats):
        """Return the message to run_kernels.c."""
        counts = len(name), len(self.contents), len(self.addresses), len(integers), len(floats)
        parts = [struct.pack("=5q", *counts), name.encode()]
        for content in self.contents:
            parts += [struct.pack("=q", len(content)), content]
        parts += [struct.pack("=4q", *address) for address in self.addresses]
        parts += [struct.pack("=2q", *integer) for integer in integers]
        return b"".join([*parts, struct.pack(f"={len(floats)}f", *floats)])

    def write_back(self, read):
        """Copy what the kernel has changed to the memory of this process."""
        changed = [(start, before, read(len(before))) for start, before in zip(self.starts, self.contents, strict=True)]
        for number, (start, before, after) in enumerate(changed):
            if after != before and all(number != region for region, *_ in self.addresses):
                ctypes.memmove(start, after, len(after))


class EmulatedLibrary:
    """Functions of the kernels, run by an emulated processor."""

    def __init__(self, program, processor, memory):
        command = [emulator(), "-cpu", processor, str(program)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.memory, self.lock = memory, threading.Lock()

    def __getitem__(self, name):
        return EmulatedFunction(self, name)

    def close(self):
        """End the emulator."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)

    def _read(self, size):
        content = self.process.stdout.read(size)
        assert len(content) == size, f"the emulator ended with {self.process.wait(timeout=30)}"
        return content


class EmulatedFunction:
    """A function with the interface of those of ctypes."""

    argtypes = ()
    restype = None

    def __init__(self, library, name):
        self.library, self.name = library, name

    def __call__(self, *arguments):
        """Call the function; integers and addresses are passed before floats (see run_kernels.c)."""
        library, call = self.library, Call(self.library.memory)
        kinds = [*zip(self.argtypes, arguments, strict=True)]
        integers = [
            call.place(value) if kind is native.POINTER else (-1, int(value))
            for kind, value in kinds
            if kind is not native.FLOAT
        ]
        floats = [value for kind, value in kinds if kind is native.FLOAT]
        with library.lock:
            library.process.stdin.write(call.message(self.name, integers, floats))
            library.process.stdin.flush()
            (result,) = struct.unpack("=q", library._read(ADDRESS_BYTES))  # noqa: SLF001
            call.write_back(library._read)  # noqa: SLF001
        return None if self.restype is None else result


@contextmanager
def emulated(program, level):
    """Yield the attributes of the module ``native`` with which the kernels run at a level of ARM processors."""
    memory = Memory()
    library = EmulatedLibrary(program, PROCESSORS[level], memory)
    try:
        with memory.recorded():
            yield {
                "IS_ARM": True,
                "LIBRARIES": {native.NEON: LIBRARY},
                "library": lambda: library,
                "availability": lambda: True,
                "processor_flags": lambda: {"dot": True, "i8mm": True},  # the level limits them
            }
    finally:
        library.close()
