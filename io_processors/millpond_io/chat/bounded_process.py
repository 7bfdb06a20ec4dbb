"""The process that renders templates of strangers: little time, little memory, no files, no programs, no secrets.

Jinja's sandbox keeps a template from Python's own names, and from nothing else: loops of loops, or the format of a
number with a billion digits, take all the time and memory there is, within one instruction of Python. Only the system
can end those. This program reads jobs from its input and writes what became of them to its output, each as JSON with
its length before it; whoever started it kills it where it does not answer.
"""

import json
import re
import signal
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import thread_time
from typing import Any, BinaryIO

from millpond.types.errors import InvalidInputError
from millpond_io.chat.templates import JinjaTemplate

HEAD = struct.Struct(">I")  # how long a message is
MEMORY = 256 * 2**20  # bytes that templates may take beside what the program needs itself
LONGEST_ERROR = 300  # characters
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
READY = b"!"


def encoded(message: Mapping[str, Any]) -> bytes:
    """A message as it is written.

    Raises:
        TypeError: If it holds what JSON cannot; ValueError or RecursionError likewise.
    """
    body = json.dumps(message).encode()
    return HEAD.pack(len(body)) + body


def read_message(stream: BinaryIO, most: int | None = None) -> Any:
    """The next message; None at the end, or where one is longer than it may be."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (size,) = HEAD.unpack(head)
    if most is not None and size > most:
        return None
    body = stream.read(size)
    return json.loads(body) if len(body) == size else None


def confine() -> None:
    """Give up what rendering does not need, for good."""
    import resource  # noqa: PLC0415  not on Windows

    page = resource.getpagesize()
    with suppress(OSError):  # elsewhere than on Linux what it needs itself is part of what it may have
        own = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * page
        resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NPROC", "RLIMIT_NOFILE"):
        limit = 3 if name == "RLIMIT_NOFILE" else 0  # input, output and errors stay
        with suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


def prepare() -> None:
    """Have Python and Jinja read what they read when they are first used, while files may be read."""
    datetime.now().astimezone()
    for source in (
        "{% for one in [1] %}{{ one | tojson }}{% break %}{% endfor %}{{ strftime_now('%Y') }}",
        "{% macro one() %}{{ namespace(two=lipsum(n=1)).two | title }}{% endmacro %}{{ one() }}",
        "{{ raise_exception('prepared') }}",
        "{{ 1.__class__",
    ):
        answer({"source": source, "variables": {}, "most": 10_000})


def answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """The text that a job's template makes, or why there is none."""
    try:
        return {"text": JinjaTemplate(job["source"]).render(job["variables"], job["most"])}
    except InvalidInputError as error:
        if isinstance(error.__cause__, MemoryError):
            return {"memory": True}
        if isinstance(error.__cause__, OSError | ImportError):  # whose texts name files of this machine
            return {"error": f"the chat template fails: {type(error.__cause__).__name__}"}
        return {"error": ADDRESS.sub("", str(error))[:LONGEST_ERROR]}
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # noqa: BLE001  such as the parser's, of a template that is nested too deeply
        return {"error": f"the chat template is not valid Jinja: {type(error).__name__}"}


def main() -> None:
    """Render until the input ends."""
    prepare()
    confine()
    _write(READY)
    while (job := read_message(sys.stdin.buffer)) is not None:
        began = thread_time()  # of the only one: the clock of a process with a timer steps by milliseconds
        # Its signal ends the process wherever it is, in the middle of an instruction too.
        signal.setitimer(signal.ITIMER_PROF, job["seconds"])
        said = answer(job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(encoded({**said, "seconds": thread_time() - began}))


def _write(message: bytes) -> None:
    sys.stdout.buffer.write(message)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
