"""The time left of a job that computes long shards counts down while one is computed."""

import time

import pytest

from millpond_command.progress import Progress
from millpond_jobs import Recipe, run, status
from millpond_jobs.folder.folder import Done
from millpond_jobs.folder.leases import Leases
from millpond_jobs.progress import ShardProgress
from millpond_storage.checked import read_checked, write_checked

SHARD_S = 100.0


@pytest.fixture
def half(bert, rows, write_jsonl, tmp_path):
    """A job of which some shards are finished, each with the same rate and one directly after the other."""
    folder = tmp_path / "out"
    run(write_jsonl(rows), folder, Recipe(model=str(bert), on_overflow="truncate"), shard_rows=64)
    records = sorted((folder / "done").iterdir())
    for path in records[3:]:
        path.unlink()
    end = finished = time.time()
    for path in reversed(records[:3]):
        done, _ = read_checked(path)
        seconds = SHARD_S * done["rows"] / 16
        write_checked(path, done | {"seconds": seconds, "finished": finished})
        finished -= seconds
    return folder, end


def test_the_status_of_a_job_counts_down_while_a_shard_is_computed(half, monkeypatch):
    folder, end = half
    assert status(folder).eta_s is None  # no worker is running
    with Leases(folder / "leases") as leases:
        assert leases.claim("00000-00003")
        monkeypatch.setattr("millpond_jobs.state.time.time", lambda: end)
        left = status(folder).eta_s
        for seconds, expected in ((40, left - 40), (SHARD_S, left - SHARD_S), (10**6, left - SHARD_S)):
            monkeypatch.setattr("millpond_jobs.state.time.time", lambda seconds=seconds: end + seconds)
            assert status(folder).eta_s == pytest.approx(expected, abs=0.1)


def test_the_progress_of_a_job_knows_the_size_of_the_shard_that_is_computed(monkeypatch):
    updates = []
    monkeypatch.setattr(Progress, "update", lambda _, count, note, *, upcoming: updates.append((count, upcoming)))
    progress = ShardProgress(100, {}, shown=False)
    for rows in (10, 20):  # the second one is computed while the first one is written
        progress.begin(f"shard {rows}", rows)
    for rows in (10, 20, 20):
        done = Done("job", f"shard {rows}", rows, failed=0, truncated=0, tokens=1, seconds=1, finished=1, sha256="")
        progress.advance(done)
    assert updates == [(10, 20), (20, None)]
