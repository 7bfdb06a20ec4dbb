"""Type checkers read the types of the installed packages in a program and in a plugin, and find their errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TIMEOUT_S = 600
PROGRAM = """\
\"\"\"A program and a plugin of a user.\"\"\"

from collections.abc import Iterator

import torch

from millpond import LLM, PoolingParams
from millpond.nn import Pooler, PoolingMetadata
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec


class FirstRows(Pooler):
    def pool(self, hidden_states: torch.Tensor, metadata: PoolingMetadata) -> torch.Tensor:
        return hidden_states[: len(metadata.lengths)]


@hookimpl
def register_poolers() -> Iterator[PoolerSpec]:
    yield PoolerSpec(name="FIRST", target=FirstRows, tasks=("embed",))


with LLM("model") as llm:
    size: int = llm.embed("a text", pooling_params=PoolingParams(dimensions=8))[0].outputs.hidden_size
    score: float = llm.score("a query", ["a document"])[0].outputs.score
"""
ERRORS = """\
    name: str = llm.score("a query", ["a document"])[0].outputs.score
    llm.embed("a text", pooling_parms=None)
"""


def checked(tool, file):
    """Run a type checker in the folder of a file, without settings, and return its exit status and output."""
    python = ["--python-executable", sys.executable] if tool == "mypy" else ["--pythonpath", sys.executable]
    strict = ["--strict", "--cache-dir", os.devnull] if tool == "mypy" else []
    command = [Path(sys.executable).with_name(tool), *python, *strict, file.name]
    done = subprocess.run(
        command,
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_type_checkers_use_the_types_of_the_installed_packages(tmp_path, tool):
    if not Path(sys.executable).with_name(tool).is_file():
        pytest.skip(f"needs {tool}: pip install 'millpond[dev]'")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    status, output = checked(tool, program)
    assert status == 0, output
    program.write_text(PROGRAM + ERRORS, encoding="utf-8")
    status, output = checked(tool, program)
    assert status == 1, output
    lines = [f"program.py:{PROGRAM.count(chr(10)) + number}" for number in (1, 2)]
    assert [line in output for line in lines] == [True, True], output
