"""The streams of the command ``millpond``: closed pipes, full disks, and terminals without escapes."""

import json
import os
import pty
import subprocess
import sys

import pytest
from command_kit import one_command, run


def on_a_terminal(*arguments, **environment):
    """Return the output of the program on a terminal, stdout and stderr together."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "millpond", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # Linux raises this when the other side is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    return written


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list", "--json"]])
def test_a_closed_pipe_is_not_an_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "millpond", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_a_full_disk_is_an_error_in_a_line():
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "millpond", "plugins", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), ("2>&-", 0)])
def test_closed_streams_harm_nothing(redirection, code):
    script = f'"{sys.executable}" -m millpond plugins list --json {redirection}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert redirection == ">&-" or json.loads(done.stdout)


def test_errors_do_not_reach_stdout_when_stderr_is_closed():
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m millpond nonsense 2>&-'], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_no_escapes_on_a_terminal_without_colours(install_plugin, environment):
    # The help of a plugin's command is Rich's by default, which writes bold in spite of NO_COLOR.
    folder = install_plugin(one_command("'''Says hello.'''"), "third")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    for arguments in (["--help"], ["hello", "--help"]):
        written = on_a_terminal(*arguments, PYTHONPATH=path, **environment)
        assert len(written) > 100
        assert b"\x1b" not in written


def test_no_escapes_in_pipes(install_plugin):
    folder = install_plugin(one_command("'''Says hello.'''"), "third")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    for arguments in (["hello", "--help"], ["plugins", "list"]):
        done = run(*arguments, PYTHONPATH=path)
        assert len(done.stdout) > 50
        assert "\x1b" not in done.stdout + done.stderr
