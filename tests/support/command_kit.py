"""Commands of ``millpond`` in tests: built-in ones, those of plugins, and the program in a process or on a terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from millpond.plugin.manager import PluginManager
from millpond_command.kinds import CommandSpec

DEADLINE_S = 120.0
SEQUENCES = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\s\S])")
ON_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
HEAD = """\
import typer
from millpond_command.cli import CommandError
from millpond.types.errors import InvalidInputError
from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import CommandSpec
"""


def run(*arguments, **environment):
    """Run the program in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "millpond", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def plugin(body, **commands):
    """Return the source of a plugin with commands, by name and expression of the target."""
    specs = [f"    yield CommandSpec(name={n!r}, target={t}, summary='Does {n}.')" for n, t in commands.items()]
    return HEAD + textwrap.dedent(body) + "\n@hookimpl\ndef register_commands():\n" + "\n".join(specs) + "\n"


def one_command(body, name="hello"):
    """The source of a plugin with one command, whose body is given."""
    source = "app = typer.Typer()\n\n@app.command()\ndef command():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return plugin(source, **{name: "app"})


def builtin_commands() -> Iterator[tuple[str, Any]]:
    """Yield the built-in commands, including those of groups, with their full names."""
    registry = PluginManager(ranks=("builtin",), disabled=()).registry
    for entry in registry[CommandSpec].entries():
        command = get_command(entry.load())
        inner = getattr(command, "commands", None)
        if inner is None:
            yield f"millpond {entry.spec.name}", command
        for name, subcommand in (inner or {}).items():
            yield f"millpond {entry.spec.name} {name}", subcommand


class Terminal:
    """A program on its own pseudo-terminal. Use it in a ``with`` block, which ends the program.

    Args:
        command: The program and its arguments.
        columns: The width of the terminal.
        environment: Environment variables, besides those of this process.
        cwd: The working directory.
    """

    def __init__(self, *command, columns=80, environment=None, cwd=None):
        self.written = b""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env={**inherited, "TERM": "xterm-256color", **(environment or {})},
        )
        os.close(theirs)

    @property
    def text(self):
        """Everything that was written so far, with escape sequences."""
        return self.written.decode("utf-8", "replace")

    @property
    def screen(self):
        """The lines that a user sees at the end, without empty ones."""
        lines, row, column = [""], 0, 0
        for argument, command, character in SEQUENCES.findall(self.text):
            if command == "A":
                row -= int(argument or 1)
            elif command == "K":
                lines[row] = "" if argument == "2" else lines[row][:column]
            elif character == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif character == "\r":
                column = 0
            elif character:
                lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines if line.strip()]

    def type(self, keys):
        """Type some keys."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text):
        """Wait until the program has written a text, since the last wait."""
        begin, deadline = len(self.written), time.monotonic() + DEADLINE_S
        while text.encode() not in self.written[begin:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            assert self._read(deadline), f"the program ended without {text!r}: {self.text!r}"

    def wait(self):
        """Wait until the program ends, and return its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline):
            assert time.monotonic() < deadline, f"still running after {self.text!r}"
        return self._process.wait(DEADLINE_S)

    def _read(self, deadline):
        """Read what is available; return False after the program has closed the terminal."""
        if not select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]:
            return True
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # Linux raises this when the other side is closed
            return False
        self.written += piece
        return bool(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
