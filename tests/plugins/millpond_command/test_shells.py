"""Completion in real shells: installed with ``--install-completion``, then used by pressing Tab."""

import os
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from command_kit import DEADLINE_S, Terminal

from millpond.testing import checkpoints

PROGRAM = """#!/bin/sh
if [ -n "$_MILLPOND_COMPLETE" ] || [ "$1" = --install-completion ]; then exec {python} -m millpond "$@"; fi
printf '%s\\n' "$@" > {typed}.part && mv {typed}.part {typed}
"""
PROMPT = "ready> "
RC_FILES = {"bash": ".bashrc", "zsh": ".zshrc"}
SET_PROMPT = {"bash": f"PS1='{PROMPT}'\n", "zsh": f"PROMPT='{PROMPT}'\nunsetopt PROMPT_SP\n"}
OPTIONS = {"bash": ["--noprofile", "-i"], "zsh": ["--no-globalrcs", "-i"]}
COMPLETED = {
    "millpond sea": ["search"],
    "millpond plugins doc": ["plugins", "doctor"],
    "millpond embed --trun": ["embed", "--truncate"],
    "millpond encode --task token_c": ["encode", "--task", "token_classify"],
    "millpond inspect ./my": ["inspect", "./my-model"],
    "millpond embed -m my": ["embed", "-m", "my-model"],
    "millpond embed --model BAAI/bge-base-en-v1": ["embed", "--model", "BAAI/bge-base-en-v1.5"],
    "millpond embed -i not": ["embed", "-i", "notes.txt"],
}
"""The words of a completed line, by what is typed before Tab."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a model, a file, and a program ``millpond`` that writes its arguments to a file."""
    folder = tmp_path_factory.mktemp("home")
    checkpoints.tiny("BertModel", folder / "my-model")
    (folder / "notes.txt").touch()
    (folder / "bin").mkdir()
    program = folder / "bin/millpond"
    program.write_text(PROGRAM.format(python=shlex.quote(sys.executable), typed=folder / "typed"), encoding="utf-8")
    program.chmod(0o755)
    return folder


def environment(home):
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {"HOME": str(home), "ZDOTDIR": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "PATH": path}


def require(shell):
    """Return the path of a shell, or skip the test."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell}")
    return path


def install(shell, home):
    """Run ``millpond --install-completion`` in a shell, which it detects by its parent process."""
    script = "millpond --install-completion; echo done"
    done = subprocess.run(
        [shell, "-c", script], capture_output=True, text=True, check=True, cwd=home, env=os.environ | environment(home)
    )
    assert done.stdout.endswith("done\n")
    assert "completion installed in" in done.stdout, done


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, home):
    """A shell that waits for commands on a terminal, with the installed completion."""
    path = require(request.param)
    install(path, home)
    with (home / RC_FILES[request.param]).open("a", encoding="utf-8") as file:
        file.write(SET_PROMPT[request.param])
    terminal = Terminal(path, *OPTIONS[request.param], columns=200, environment=environment(home), cwd=home)
    with terminal:
        terminal.wait_for(PROMPT)
        yield terminal


@pytest.mark.slow
@pytest.mark.parametrize("line", COMPLETED)
def test_tab_completes_a_word(shell, home, line):
    typed = home / "typed"
    typed.unlink(missing_ok=True)
    shell.type(f"{line}\t")
    shell.wait_for(COMPLETED[line][-1][len(line.rpartition(" ")[2]) :])
    shell.type("\r")
    deadline = time.monotonic() + DEADLINE_S
    while not typed.exists():
        assert time.monotonic() < deadline, shell.text
        time.sleep(0.05)
    assert typed.read_text(encoding="utf-8").split("\n")[:-1] == COMPLETED[line]
    shell.wait_for(PROMPT)


@pytest.mark.slow
def test_fish_completes_the_same_words(home):
    path = require("fish")
    install(path, home)
    for line, words in COMPLETED.items():
        done = subprocess.run(
            [path, "-c", f"complete -C {shlex.quote(line)}"],
            capture_output=True,
            text=True,
            check=True,
            cwd=home,
            env=os.environ | environment(home),
        )
        assert [it.split("\t")[0] for it in done.stdout.splitlines()] == [words[-1]], line
