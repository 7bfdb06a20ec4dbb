"""``.ci/run`` begins with the commands of the README, run as in the shell of a new user."""

import os
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / ".ci" / "run"
# Does nothing but record the command, its folder, the files there, the number of files in HOME, and its variables.
RECORDER = """#!/bin/bash
case "$(basename "$0") $1" in "apt-get "*) exit 1;; esac
names=$(compgen -e | grep -vxE '_|OLDPWD|PWD|SHLVL' | sort | tr '\\n' ' ')
echo "$(basename "$0") $*|$PWD|$(ls -A "$PWD" | tr '\\n' ' ')|$(ls -A "$HOME" | wc -l)|$names" >>"${0%/*}/log"
"""


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def run_with_recorder(tmp_path, *, untracked=None):
    """Run a copy of the program in a repository that contains nothing else, and return the fields of each command."""
    repository, programs = tmp_path / "repository", tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "apt-get", "pip"):
        programs.joinpath(name).write_text(RECORDER, encoding="utf-8")
        programs.joinpath(name).chmod(0o755)
    repository.joinpath(".ci").mkdir(parents=True)
    copy = repository / ".ci" / "run"
    copy.write_bytes(PROGRAM.read_bytes())
    copy.chmod(0o755)
    git(repository, "init", "--quiet")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "a")
    if untracked is not None:
        (repository / untracked).touch()
    variables = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PIP_INDEX_URL": "http://127.0.0.1:9"}
    done = subprocess.run([copy], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split("|") for line in (programs / "log").read_text(encoding="utf-8").splitlines()]


def test_ci_begins_with_the_commands_of_the_readme_without_variables(tmp_path):
    section = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## Install")[2]
    documented = re.findall(r"^\$ (.*)$", section.split("```")[1], re.MULTILINE)
    calls = run_with_recorder(tmp_path, untracked="left.txt")
    assert [call[0] for call in calls[:2]] == documented == ["make demo", "make test"]
    for _, folder, files, home, names in calls[:2]:
        assert not Path(folder).is_relative_to(tmp_path / "repository")
        assert files.split() == [".ci", ".git"]
        assert home == "0"
        assert names.split() == ["HOME", "LANG", "PATH"]


def test_ci_runs_each_further_step_once_in_the_same_clone(tmp_path):
    calls = run_with_recorder(tmp_path)
    assert len({call[1] for call in calls}) == 1
    commands = [call[0] for call in calls]
    assert commands.count("make test") == 1
    assert commands[2] == "make .venv/.installed-dev"
    assert commands[-1] == "make test-slow"


def test_workflow_calls_ci_run_and_nothing_else():
    workflow = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    steps = re.findall(r"^ +- (.+)$", workflow.partition("    steps:\n")[2], re.MULTILINE)
    assert re.sub(r"@v\d+$", "", steps[0]) == "uses: actions/checkout"
    assert steps[1:] == ["run: .ci/run"]
