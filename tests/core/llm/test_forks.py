"""A fork of a process with a loaded model: calls end in an error at once, and the parent is not affected."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SCRIPT = """
import asyncio, os, sys
from millpond import LLM, AsyncLLM
from millpond.types.errors import EngineClosedError

kind, folder = sys.argv[1:]
llm = AsyncLLM(folder, num_workers=2) if kind == "AsyncLLM" else LLM(folder, num_workers=2)

def embed():
    result = llm.embed(["a cat", "a dog"] * 50)
    return asyncio.run(result) if kind == "AsyncLLM" else result

def close():
    result = llm.close()
    return asyncio.run(result) if kind == "AsyncLLM" else result

embed()
child = os.fork()
if not child:
    try:
        embed()
    except EngineClosedError as error:
        print(error, flush=True)
    close()
    sys.exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), len(embed()), flush=True)
close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LLM", "AsyncLLM"])
def test_a_call_in_a_fork_is_refused_at_once(folder, kind):
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, kind, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            output, _ = program.communicate(timeout=120)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
    error, parent = output.splitlines()
    assert "is a fork of it" in error
    assert "load the model after the fork" in error
    assert "spawn" in error
    assert parent == "7 100"


def test_calls_check_the_process_before_anything_else(make, monkeypatch):
    llm = make()
    monkeypatch.setattr(os, "getpid", lambda: -1)

    async def main():
        with pytest.raises(Exception, match="process -1 is a fork of it"):
            await llm.embed("a cat")

    asyncio.run(main())
