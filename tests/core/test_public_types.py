"""The types of LLM and AsyncLLM, as type checkers of user code infer them, and as Python reports them."""

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from millpond import LLM, AsyncLLM

CORE = Path(inspect.getfile(LLM)).parents[1]
METHODS = ("embed", "embed_sparse", "embed_chunks", "classify", "reward", "score", "represent", "encode")
USER = """
from millpond import LLM, AsyncLLM

def offline(llm: LLM) -> None:
    reveal_type(llm.embed("a"))
    reveal_type(llm.embed("a", output="array"))
    reveal_type(llm.score("a", "b", use_tqdm=False))
    llm.classify("a", priority=1)  # wrong
    llm.classify("a", promt="b")  # wrong

async def online(llm: AsyncLLM) -> None:
    reveal_type(await llm.embed("a", priority=1))
    reveal_type(await llm.embed("a", output="array"))
    await llm.classify("a", use_tqdm=False)  # wrong
"""
REVEALED = (
    "list[EmbeddingRequestOutput]",
    "ndarray",
    "list[ScoringRequestOutput]",
    "list[EmbeddingRequestOutput]",
    "ndarray",
)
CHECKERS = {"mypy": ["mypy", "--strict", "--cache-dir", "{cache}"], "pyright": ["pyright"]}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_infer_results_and_refuse_arguments_of_the_other_class(checker, tmp_path):
    file = tmp_path / "user.py"
    file.write_text(USER)
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{CORE}"]}}')
    command = [part.format(cache=tmp_path / "cache") for part in CHECKERS[checker]]
    python = ["--pythonpath", sys.executable] if checker == "pyright" else []
    done = subprocess.run(
        [sys.executable, "-m", *command, *python, file.name],
        cwd=tmp_path,
        env={"MYPYPATH": str(CORE), "PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    revealed = re.findall(r"(?:Revealed type is|Type of .* is) \"(.*)\"", done.stdout)
    short = [re.sub(r"(?:\w+\.)+(\w+)", r"\1", kind) for kind in revealed]
    assert len(short) == len(REVEALED), done.stdout + done.stderr
    assert all(kind.startswith(expected) for kind, expected in zip(short, REVEALED, strict=True)), short
    wrong = [number for number, line in enumerate(USER.splitlines(), 1) if line.endswith("# wrong")]
    errors = re.findall(r"user\.py:(\d+):.*error", done.stdout)
    assert [int(number) for number in errors] == wrong, done.stdout


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_async_llm_are_coroutine_functions_with_the_documentation_of_llm(name):
    method = getattr(AsyncLLM, name)
    assert inspect.iscoroutinefunction(method)
    assert method.__doc__ == getattr(LLM, name).__doc__
    assert [*inspect.signature(method).parameters][-2:] == ["priority", "options"]


def test_llm_refuses_the_priority_of_async_llm(tiny_bert):
    with pytest.raises(TypeError, match="unexpected keyword argument 'priority'"):
        tiny_bert.embed("a", priority=1)


def test_async_llm_refuses_the_progress_bar_of_llm(tiny_bert):
    async def ask():
        async with AsyncLLM(tiny_bert.model_config.identity.path) as llm:
            await llm.embed("a", use_tqdm=False)

    with pytest.raises(TypeError, match="unexpected keyword argument 'use_tqdm'"):
        asyncio.run(ask())
