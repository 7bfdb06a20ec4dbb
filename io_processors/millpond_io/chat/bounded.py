"""Rendering templates of strangers, in a process that can be killed; it is started when the first one comes."""

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from millpond.types.errors import EngineOverloadedError, InvalidInputError
from millpond.types.prompts import TemplateBudget
from millpond_io.chat.bounded_process import READY, encoded, read_message
from millpond_io.chat.templates import MOST_CHARACTERS

PROGRAM = "millpond_io.chat.bounded_process"
START = 30.0  # seconds for the process to start
PATIENCE = 4.0  # seconds, beside the CPU time it may take, for a process on a busy machine
TURN = 0.25  # seconds to wait for who renders just now; while the process starts, longer
ESCAPED = 12  # bytes of JSON that a character may take
ROOM = 1000  # bytes of an answer beside its text
KEPT = ("TZ", "LANG", "LC_ALL")  # of the environment: it may hold keys


class BoundedRenderer:
    """Renders one template at a time; a process that was killed is replaced when the next one comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, source: str, variables: Mapping[str, Any], most: int, budget: TemplateBudget) -> str:
        """The text that a template makes.

        Args:
            source: The template.
            variables: What it may name, as JSON can hold it.
            most: The most characters that the text may have.
            budget: The time that is left for it, which becomes less.

        Raises:
            InvalidInputError: If the template fails, or takes more than it may.
            EngineOverloadedError: If another one takes its time just now.
        """
        if len(source) > MOST_CHARACTERS:
            message = f"chat_template has {len(source)} characters; it may have {MOST_CHARACTERS}"
            raise InvalidInputError(message, parameter="chat_template")
        if budget.seconds <= 0:
            raise _refused("takes more time than a request's templates may")
        try:
            job = encoded({"source": source, "variables": variables, "most": most, "seconds": budget.seconds})
        except (TypeError, ValueError, RecursionError) as error:
            message = f"the variables of a chat template must be what JSON can hold: {error}"
            raise InvalidInputError(message, parameter="chat_template_kwargs") from error
        if not self._lock.acquire(timeout=TURN if self._process is not None else START):
            message = "another request's chat template is rendered just now: try again later"
            raise EngineOverloadedError(message, retry_after=1.0)
        try:
            said = self._ask(job, budget.seconds + PATIENCE, most * ESCAPED + ROOM)
        finally:
            self._lock.release()
        if said is None:
            budget.seconds = 0.0
            raise _refused("takes more time or memory than a request's templates may")
        budget.seconds -= said["seconds"]
        if "error" in said:
            raise InvalidInputError(str(said["error"]), parameter="chat_template")
        return str(said["text"])

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                _open(stream).close()

    def _ask(self, job: bytes, seconds: float, most: int) -> Any:
        """What the process says; None if it had to be killed, or has run out of memory.

        Args:
            job: What it is to do.
            seconds: How long that may take.
            most: The most bytes that it may say.
        """
        process = self._process or self._start()
        late = threading.Timer(seconds, process.kill)
        late.start()
        said: Any = None
        try:
            _open(process.stdin).write(job)
            _open(process.stdin).flush()
            said = read_message(_open(process.stdout), most)
        except (OSError, ValueError):  # it has ended, or says what is no JSON
            said = None
        finally:
            late.cancel()
            if said is None or "memory" in said:
                self.close()
        return None if said is None or "memory" in said else said

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        process = subprocess.Popen(  # noqa: S603  it is Python, and a module of this package
            [sys.executable, "-P", "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "PYTHONPATH": paths},
            cwd=os.sep,
            start_new_session=True,  # Ctrl-C is for the program, which ends this one
        )
        self._process = process
        late = threading.Timer(START, process.kill)
        late.start()
        ready = _open(process.stdout).read(len(READY))
        late.cancel()
        if ready != READY:
            self.close()
            message = "chat templates of requests cannot be rendered here: the process for them does not start"
            raise EngineOverloadedError(message)
        return process


def _refused(what: str) -> InvalidInputError:
    return InvalidInputError(f"the chat template {what}", parameter="chat_template")


def _open(stream: Any) -> BinaryIO:
    """A stream that was opened with the process."""
    opened: BinaryIO = stream
    return opened


_renderer = BoundedRenderer()
atexit.register(_renderer.close)
render_bounded = _renderer.render
