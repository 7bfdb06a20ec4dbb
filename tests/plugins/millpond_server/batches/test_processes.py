"""Batches of servers in separate processes: killed in the middle, and with 50,000 lines in bounded memory."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from batch_client import records, request_line, start_batch, wait_for

from millpond_server.testing import RunningServer

MANY_LINES, FEW_LINES = 50_000, 1000
MAX_GROWTH = 1.3  # peak memory with many lines, divided by that with few
LISTENS = re.compile(r"listens on http://([\w.:]+)")


class Process:
    """A server in a separate process, which can be killed."""

    def __init__(self, model, folder):
        command = [sys.executable, "-m", "millpond", "serve", str(model), "--served-model-name", "bert"]
        command += ["--port", "0", "--log-format", "off", "--batch-dir", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.address = LISTENS.search(line)[1]

    def request(self, method, path, *, json=None, content=None, headers=None):
        server = RunningServer(f"http://{self.address}", None, threading.current_thread())
        return server.request(method, path, json=json, content=content, headers=headers)

    def end(self, number):
        os.kill(self.process.pid, number)
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.slow
def test_a_killed_server_finishes_its_batches_with_no_line_lost_or_doubled(model, tmp_path):
    server = Process(model, tmp_path / "batches")
    lines = [request_line(number) for number in range(3000)]
    batch = start_batch(server, lines)
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        before = wait_for(server, batch, "in_progress")["request_counts"]["completed"]
        while wait_for(server, batch, "in_progress")["request_counts"]["completed"] < before + 300:
            time.sleep(0.005)
        server.end(number)
        server = Process(model, tmp_path / "batches")
    batch = wait_for(server, batch)
    assert batch["status"] == "completed"
    output = records(server, batch["output_file_id"])
    assert [record["custom_id"] for record in output] == [line["custom_id"] for line in lines]
    assert all(record["response"]["status_code"] == 200 for record in output)
    server.end(signal.SIGTERM)


def peak_memory(process):
    """Return the peak memory of a process in KiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_fifty_thousand_lines_end_in_order_in_bounded_memory(model, tmp_path):
    server = Process(model, tmp_path / "batches")
    wait_for(server, start_batch(server, [request_line(number) for number in range(FEW_LINES)]))
    before = peak_memory(server.process)
    lines = [request_line(number) for number in range(MANY_LINES)]
    batch = wait_for(server, start_batch(server, lines), seconds=1800.0)
    assert batch["request_counts"] == {"total": MANY_LINES, "completed": MANY_LINES, "failed": 0}
    after = peak_memory(server.process)
    output = records(server, batch["output_file_id"])
    assert [record["custom_id"] for record in output] == [line["custom_id"] for line in lines]
    assert after <= MAX_GROWTH * before
    lines.append(request_line(MANY_LINES))
    batch = wait_for(server, start_batch(server, lines))
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "too_many_lines")
    server.end(signal.SIGTERM)
