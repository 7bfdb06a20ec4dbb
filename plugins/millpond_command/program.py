"""The entry point ``millpond``: prints the version without importing the command line, which takes much longer."""

import os
import signal
import sys

TYPE_CHECKING = False  # importing it from typing takes time, too
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION_OPTIONS = (["--version"], ["-V"])
INTERRUPTED = 130  # the exit code after Ctrl-C


def main() -> None:
    """Run the program."""
    if sys.argv[1:] not in VERSION_OPTIONS or not _print_version():
        with InterruptibleImport():
            from millpond_command.cli import main as run  # noqa: PLC0415  see above
        run()


class InterruptibleImport:
    """Lets Ctrl-C end the process at once: a KeyboardInterrupt in the middle of an import can become another error.

    A class and not a generator, because importing contextlib takes time in which Ctrl-C prints a traceback.
    """

    def __enter__(self) -> None:
        self._is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_default:
            self._handle(lambda *_: os._exit(INTERRUPTED))

    def __exit__(self, *_: object) -> None:
        if self._is_default:
            self._handle(signal.default_int_handler)

    def _handle(self, handler: "Callable[..., object]") -> None:
        try:
            signal.signal(signal.SIGINT, handler)
        except ValueError:  # only the main thread handles signals
            self._is_default = False


def version() -> str:
    """Return the line that ``--version`` prints."""
    import millpond  # noqa: PLC0415  main() catches Ctrl-C first

    return f"millpond {millpond.__version__}"


def _print_version() -> bool:
    """Print the version; return False if stdout cannot be written, which the command line reports."""
    try:
        print(version(), flush=True)  # noqa: T201
    except OSError:
        return False
    return True
