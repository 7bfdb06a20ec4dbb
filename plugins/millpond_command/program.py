"""The entry point ``millpond``: prints the version without importing the command line, which takes much longer."""

import sys

import millpond

VERSION_OPTIONS = (["--version"], ["-V"])
INTERRUPTED = 130  # the exit code after Ctrl-C


def main() -> None:
    """Run the program."""
    if sys.argv[1:] not in VERSION_OPTIONS or not _print_version():
        try:
            from millpond_command.cli import main as run  # noqa: PLC0415  see above
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        run()


def version() -> str:
    """Return the line that ``--version`` prints."""
    return f"millpond {millpond.__version__}"


def _print_version() -> bool:
    """Print the version; return False if stdout cannot be written, which the command line reports."""
    try:
        print(version(), flush=True)  # noqa: T201
    except OSError:
        return False
    return True
