"""Test Ctrl-C during a computation: the program ends with KeyboardInterrupt, without a crash of torch's threads."""

import signal
import subprocess
import sys
import time

import pytest

# In processes that a shell started in the background, Ctrl-C is ignored: the script restores the default handler.
SCRIPT = """
import signal

from millpond import LLM

signal.signal(signal.SIGINT, signal.default_int_handler)

llm = LLM("all-MiniLM-L6-v2")
started = llm._loaded.model.register_forward_pre_hook(lambda *_: print("computing", flush=True))
llm.embed([f"{number} cats sat on the mat " * 30 for number in range(3000)], use_tqdm=False)
print("not interrupted")
"""


@pytest.mark.slow
def test_ctrl_c_while_computing_ends_the_program():
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline().startswith("computing")  # two workers may print at the same time
        program.send_signal(signal.SIGINT)
        output, errors = program.communicate(timeout=600)
    assert "not interrupted" not in output
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert program.returncode == -signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.0, 2.5, 3.5])
def test_ctrl_c_while_a_command_starts_leaves_no_file_and_no_crash(tmp_path, seconds):
    (tmp_path / "texts.txt").write_text("".join(f"{number} cats sat on the mat\n" for number in range(200_000)))
    restore = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{restore}; from millpond_command.program import main; main()"
    arguments = ["embed", "--model", "all-MiniLM-L6-v2", "-i", "texts.txt", "--output", "vectors.npy"]
    with subprocess.Popen(
        [sys.executable, "-c", run, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as program:
        time.sleep(seconds)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=600)
    assert program.returncode == 130
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]
