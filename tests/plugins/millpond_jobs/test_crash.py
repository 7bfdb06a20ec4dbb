"""Jobs that are killed with SIGKILL at random moments end with the same bytes as one that was not interrupted."""

import contextlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from hashlib import sha256
from multiprocessing import forkserver
from pathlib import Path

import preloaded_jobs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from preloaded_jobs import SHARD_ROWS, run_command, run_job

from millpond_jobs import Recipe, status

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
ROWS = 120


@pytest.fixture(scope="module")
def processes():
    """Processes that start with torch imported, so that they are killed at work and not at their imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded_jobs"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(preloaded_jobs.__file__).parent))  # the server ignores sys.path
        forkserver.ensure_running()
    return context


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"id": f"row-{number}", "text": "the cat sat on the mat " * (1 + number % 9)} for number in range(ROWS)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), id_column="id", on_overflow="truncate")


def hashes(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / "shards").glob("*.parquet")}


def assert_whole(folder, expected):
    """Check that the results have the expected bytes, each id exactly once and nothing left over."""
    assert hashes(folder) == expected
    table = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "shards").iterdir()))
    assert table.column("id").to_pylist() == [f"row-{number}" for number in range(ROWS)]
    assert sorted(path.stem for path in (folder / "done").iterdir()) == sorted(
        name.partition(".")[0] for name in expected
    )
    assert [path.name for path in (folder / "leases").iterdir() if path.suffix != ".lock"] == []


def kill_after(process, seconds):
    """Kill a process after some time; return False if it had ended by itself."""
    process.join(seconds)
    process.kill()  # does nothing if the process has ended
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_job_ends_with_the_same_bytes(processes, source, recipe, tmp_path, kills):
    run_job(source, tmp_path / "whole", recipe)
    expected, chance, killed, jobs = hashes(tmp_path / "whole"), random.Random(kills), 0, 0
    for folder in (tmp_path / "started", tmp_path / "timed"):  # the first one also starts the fork server
        begun = time.monotonic()
        uninterrupted = processes.Process(target=run_job, args=(source, folder, recipe))
        uninterrupted.start()
        assert not kill_after(uninterrupted, None)
        seconds = time.monotonic() - begun
    while killed < kills:
        folder = tmp_path / f"job-{jobs}"
        process = processes.Process(target=run_job, args=(source, folder, recipe))
        process.start()
        if kill_after(process, chance.uniform(0, seconds)):
            killed += 1
        else:
            assert_whole(folder, expected)
            jobs += 1
    run_job(source, folder, recipe)
    assert_whole(folder, expected)


def test_two_processes_share_a_folder_and_one_is_killed(processes, source, recipe, tmp_path):
    run_job(source, tmp_path / "whole", recipe)
    folder = tmp_path / "job"
    workers = [processes.Process(target=run_job, args=(source, folder, recipe)) for _ in range(2)]
    for process in workers:
        process.start()
    while not (folder / "done").is_dir() or len(list((folder / "done").iterdir())) < 10:
        assert any(process.is_alive() for process in workers)
        time.sleep(0.01)
    kill_after(workers[0], 0)
    workers[1].join()
    assert workers[1].exitcode == 0
    assert_whole(folder, hashes(tmp_path / "whole"))


def interrupted(processes, command, folder, stderr, interrupts):
    """Send SIGINT to `millpond job run` after its first shard; return the exit code."""
    process = processes.Process(target=run_command, args=([*command, "-o", str(folder)], stderr))
    process.start()
    while process.is_alive() and (not (folder / "done").is_dir() or not list((folder / "done").iterdir())):
        time.sleep(0.005)
    for _ in range(interrupts):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        time.sleep(0.02)
    process.join()
    return process.exitcode


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_finishes_the_shard_or_stops_at_once_and_both_resume(
    processes, source, recipe, bert, tmp_path, interrupts
):
    run_job(source, tmp_path / "whole", recipe)
    command = ["job", "run", str(source), "-m", str(bert)]
    command += ["--id-column", "id", "--on-overflow", "truncate", "--shard-rows", str(SHARD_ROWS)]
    for number in itertools.count():
        folder, stderr = tmp_path / f"job-{number}", tmp_path / f"stderr-{number}"
        code = interrupted(processes, command, folder, stderr, interrupts)
        if code != 0:  # else it finished first, on a busy machine
            break
    assert code in {130, -signal.SIGINT}, stderr.read_text()  # a shell reports 130 for both
    assert "Stopping after the current shard" in stderr.read_text()
    state = status(folder)
    assert 0 < state.finished_rows < ROWS
    assert state.running == 0
    run_job(source, folder, recipe)
    assert_whole(folder, hashes(tmp_path / "whole"))
