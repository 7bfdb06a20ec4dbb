"""Test jobs on a cluster: their results are those of a local job, also after the death of a worker."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from millpond.types.errors import MillpondError
from millpond_command.clusters import Workers
from millpond_jobs import Recipe, run

pytestmark = pytest.mark.slow
TIMEOUT_S = 180.0
ROWS = 600
SHARD_ROWS = 30


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = ({"id": number, "text": f"the cat {number} " * (1 + number % 9)} for number in range(ROWS))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def shards_of(folder):
    """Return the hash of each shard, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "shards").iterdir()}


def test_job_on_a_cluster_survives_a_killed_worker(cluster, bert, source, tmp_path):
    expected = run(source, tmp_path / "local", Recipe(model=str(bert), id_column="id"), shard_rows=SHARD_ROWS)
    command = [sys.executable, "-m", "millpond", "job", "run", "rows.jsonl", "-o", "out", "-m", str(bert)]
    command += ["--id-column", "id", "--shard-rows", str(SHARD_ROWS), "--ray", cluster]
    command += ["--workers", "2", "--worker-cpus", "1", "--worker-gpus", "0"]
    log = tmp_path / "log"
    with log.open("w") as file:
        program = subprocess.Popen(command, stdout=file, stderr=file, cwd=tmp_path)
    leases, killed = tmp_path / "out" / "leases", None
    deadline = time.monotonic() + TIMEOUT_S
    while program.poll() is None and time.monotonic() < deadline:
        pids = holders(leases) if killed is None else []
        if pids:
            killed = pids[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.005)
    assert program.wait(1) == 0, log.read_text()
    assert killed is not None
    assert f"{ROWS:,} rows" in log.read_text()
    assert shards_of(tmp_path / "out") == shards_of(tmp_path / "local")
    assert (expected.finished, expected.rows) == (True, ROWS)


def holders(leases):
    """Return the processes that hold leases of shards."""
    pids = []
    for path in leases.glob("0*"):
        try:
            pids.append(json.loads(path.read_text())["pid"])
        except (OSError, ValueError):  # released, or not written yet
            continue
    return pids


def test_error_of_a_worker_is_that_of_the_local_job(cluster, bert, tmp_path):
    from millpond_jobs import run_on_cluster
    from millpond_ray.cluster import RayCluster

    with pytest.raises(MillpondError, match=r"missing\.jsonl") as caught:
        run_on_cluster(
            RayCluster(cluster),
            Workers(count=1, cpus=1, gpus=0),
            tmp_path / "missing.jsonl",
            tmp_path / "out",
            Recipe(model=str(bert)),
        )
    assert "Traceback" not in str(caught.value)


def test_workers_that_fit_no_machine_are_refused(cluster):
    from millpond_ray.cluster import RayCluster

    with pytest.raises(MillpondError, match="No machine of the cluster has 64 CPUs and 0 GPUs for a worker"):
        RayCluster(cluster).run(print, Workers(cpus=64, gpus=0), threading.Event())


def work_until_stopped(stop):
    assert stop.wait(TIMEOUT_S)


def test_stop_reaches_the_workers(cluster):
    from ray import cloudpickle

    from millpond_ray.cluster import RayCluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    RayCluster(cluster).run(work_until_stopped, Workers(count=2, cpus=1, gpus=0), stop)
    assert stop.is_set()
