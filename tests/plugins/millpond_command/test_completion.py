"""Shell completion: models, tasks, plugins and commands, without importing torch."""

import os
import shutil
import subprocess
import sys

import pytest

from millpond.testing import checkpoints
from millpond_command.completion import models

SHOW = """
import sys
from millpond_command.cli import app
try:
    app([], prog_name="millpond")
except SystemExit:
    pass
assert not {"torch", "numpy", "transformers", "tokenizers"} & set(sys.modules), "imports too much"
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a model, a folder without one, and a model in the hub's cache."""
    checkpoints.tiny("BertModel", tmp_path / "work/my-model")
    (tmp_path / "work/my-notes").mkdir()
    (tmp_path / "cache/models--acme--my-embedder").mkdir(parents=True)
    return tmp_path / "work"


def complete(line, folder, shell):
    """Return the completions of a command line, each on a line, as the program prints them for a shell."""
    words = line.split(" ")
    environment = {
        "_MILLPOND_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "HF_HUB_CACHE": str(folder.parent / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    return done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("millpond embed -m my", ["my-model"]),
        ("millpond embed --model acme", ["acme/my-embedder"]),
        ("millpond inspect ./my", ["./my-model"]),
        ("millpond encode --task token_c", ["token_classify"]),
        ("millpond plugins doctor mod", ["models"]),
        ("millpond sea", ["search"]),
        ("millpond plugins do", ["doctor"]),
        ("millpond embed -i not", []),
    ],
)
def test_bash_completes_names(folder, line, expected):
    assert complete(line, folder, "bash").split() == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_the_same_names(folder, shell):
    assert "acme/my-embedder" in complete("millpond embed --model acme", folder, shell)


def test_published_models_are_completed_without_patterns(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert "BAAI/bge-base-en-v1.5" in models("BAAI")
    assert not [name for name in models("") if "*" in name]
    assert models("nothing/here/") == models("nothing/here/x")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_completes_with_the_installed_script(folder, tmp_path):
    program = tmp_path / "millpond"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m millpond "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = """
    eval "$(env _MILLPOND_COMPLETE=source_bash millpond)"
    COMP_WORDS=(millpond encode --task token_c) COMP_CWORD=3
    _millpond_completion millpond
    echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["token_classify"], done.stderr
