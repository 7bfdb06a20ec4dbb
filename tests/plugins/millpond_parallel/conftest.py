"""Models with two engine processes, and waits for the end of processes."""

from pathlib import Path

import pytest
from waiting import eventually

from millpond import LLM
from millpond.testing.checkpoints import tiny


def is_running(pid):
    """Return True if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def wait_for_end():
    """Return a function that waits until no process of a list runs."""
    return lambda pids: eventually(lambda: not any(map(is_running, pids)))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Return the folder of a tiny BERT."""
    return str(tiny("BertModel", tmp_path_factory.mktemp("parallel") / "bert"))


@pytest.fixture
def executor():
    """Return a function that returns the executor of an LLM."""
    return lambda llm: llm._engine.runner  # noqa: SLF001  no public attribute has it


@pytest.fixture
def pids(executor):
    """Return a function that returns the ids of the engine processes of an LLM."""
    return lambda llm: [status.pid for status in executor(llm).statuses()]


@pytest.fixture
def pair(bert):
    """Yield a tiny BERT in two engine processes; a test may kill them."""
    with LLM(bert, data_parallel_size=2, batch_invariant=True) as llm:
        yield llm


@pytest.fixture(scope="module")
def single(bert):
    """Yield the same model in this process."""
    with LLM(bert, batch_invariant=True, num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="session")
def texts():
    """Return texts of many lengths."""
    return [f"{number} " + "a cat sat on the mat " * (number % 5) for number in range(100)]
