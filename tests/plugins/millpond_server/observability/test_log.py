"""The access log: one line per request with any content, written without blocking; lost lines are counted."""

import fcntl
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from millpond_command.stderr import logging_to_stderr
from millpond_server.observability import log_queue
from millpond_server.observability.access_log import AccessLog, as_json, as_text
from millpond_server.observability.log_queue import in_background

WHEN = 1_800_000_000.25
FIELDS = {"method": "POST", "path": "/v1/embeddings", "status": 200, "ms": 1.5}


def test_a_line_contains_time_and_fields():
    assert as_text(FIELDS, WHEN) == "2027-01-15T08:00:00.250Z POST /v1/embeddings 200 ms=1.5"
    assert json.loads(as_json(FIELDS, WHEN)) == {"time": "2027-01-15T08:00:00.250Z", "event": "request", **FIELDS}


@pytest.mark.parametrize("value", ["a b", "a\nb", "a\\b", "a\x1b[31m", "ü\u2028", "", "x=1"])
def test_no_value_forges_a_line_or_a_field(value):
    line = as_text({**FIELDS, "agent": value}, WHEN)
    assert line.isprintable()
    assert len(line.split(" ")) == 6
    assert "\n" not in as_json({**FIELDS, "agent": value}, WHEN)


def test_all_lines_are_written_in_their_order(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    log = AccessLog("text")
    before = time.time()
    for number in range(1000):
        log.write({**FIELDS, "id": number})
        if number == 500:
            time.sleep(3 * log_queue.GATHER_S)
    log.close()
    lines = written.getvalue().splitlines()
    assert [int(line.rpartition("=")[2]) for line in lines] == list(range(1000))
    assert log.lost == 0
    assert lines[0][:17] in {time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(when)) for when in (before, time.time())}


def test_unread_lines_are_dropped_and_counted(monkeypatch):
    may_write = threading.Event()

    class Slow(io.StringIO):
        def write(self, text):
            assert may_write.wait(30)
            return super().write(text)

    slow = Slow()
    monkeypatch.setattr(sys, "stderr", slow)
    monkeypatch.setattr(log_queue, "MAX_WAITING_LINES", 10)
    log = AccessLog("text")
    log.write(FIELDS)
    while log.queue.queue.qsize():
        time.sleep(0.001)
    for _ in range(25):
        log.write(FIELDS)
    assert log.lost == 15
    may_write.set()
    log.close()
    lines = slow.getvalue().splitlines()
    assert sum("POST" in line for line in lines) == 11
    assert any("lines of the log were lost: they could not be written in time" in line for line in lines)


def test_a_closed_stderr_does_not_raise(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log = AccessLog("json")
    log.write(FIELDS)
    log.close()
    assert log.lost == 1


def test_records_warnings_and_tracebacks_of_threads_are_written_in_the_background(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    handler = logging.StreamHandler(written)
    handler.addFilter(lambda record: record.name != "left.out")
    logging.getLogger().addHandler(handler)
    log = AccessLog("off")

    def fail():
        raise OSError("lost")

    try:
        with in_background(log.queue):
            logging.getLogger("millpond").warning("some %s", "text")
            logging.getLogger("left.out").warning("some other text")
            log.write(FIELDS)
            thread = threading.Thread(target=fail, name="failing")
            thread.start()
            thread.join()
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("look out", UserWarning, stacklevel=1)
        assert handler in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(handler)
    log_text = written.getvalue()
    assert log_text.startswith("warning: some text\nerror: the thread failing ended\nTraceback")
    assert "OSError: lost" in log_text
    assert "UserWarning: look out" in log_text
    assert "other text" not in log_text
    assert "/v1/embeddings" not in log_text


def test_a_record_is_one_line_while_the_program_logs_to_stderr(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    log = AccessLog("off")
    with logging_to_stderr():
        with in_background(log.queue):
            logging.getLogger("millpond").warning("some text")
        assert written.getvalue() == "warning: some text\n"
        logging.getLogger("millpond").warning("after the server")
    assert written.getvalue() == "warning: some text\nwarning: after the server\n"


# --- stderr of a process ----------------------------------------------------------------------------------------------


@contextmanager
def served(folder, stderr):
    """A server with a separate stderr, and the address that it prints on stdout."""
    command = [sys.executable, "-m", "millpond", "serve", folder, "--served-model-name", "tiny", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        line = process.stdout.readline()
        assert line, f"it did not start, and exited with {process.wait(60)}"
        yield process, line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_server_starts_serves_and_ends_although_stderr_is_on_a_full_disk(folder):
    with Path("/dev/full").open("w") as full, served(folder, full) as (process, address):
        for _ in range(20):
            assert httpx2.get(f"{address}/live", timeout=60).status_code == 200
    assert process.returncode == 0


@pytest.mark.slow
def test_an_unread_stderr_pipe_does_not_block_the_server(folder):
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    with served(folder, theirs) as (process, address), httpx2.Client(base_url=address, timeout=60) as client:
        agent = {"user-agent": "a" * 200}
        for _ in range(100):  # some 40 KiB of lines
            assert client.get("/live", headers=agent).status_code == 200
        assert b"millpond_log_lines_lost" in client.get("/metrics").content
    assert process.returncode == 0
    os.close(ours)
    os.close(theirs)
