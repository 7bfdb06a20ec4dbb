"""The log: a line a request, whatever stands in it, written beside the event loop; what is lost is counted."""

import io
import json
import sys
import threading
import time

import pytest

from millpond_server import access_log
from millpond_server.access_log import AccessLog, as_json, as_text

WHEN = 1_800_000_000.25
FIELDS = {"method": "POST", "path": "/v1/embeddings", "status": 200, "ms": 1.5}


def test_a_line_says_when_and_what():
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
            time.sleep(3 * access_log.TOGETHER)
    log.close()
    lines = written.getvalue().splitlines()
    assert [int(line.rpartition("=")[2]) for line in lines] == list(range(1000))
    assert log.lost == 0
    assert lines[0][:17] in {time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(when)) for when in (before, time.time())}


def test_lines_that_nobody_takes_are_dropped_and_counted(monkeypatch):
    may_write = threading.Event()

    class Slow(io.StringIO):
        def write(self, text):
            assert may_write.wait(30)
            return super().write(text)

    slow = Slow()
    monkeypatch.setattr(sys, "stderr", slow)
    monkeypatch.setattr(access_log, "MOST_WAITING", 10)
    log = AccessLog("text")
    log.write(FIELDS)
    while log.waiting:
        time.sleep(0.001)
    for _ in range(25):
        log.write(FIELDS)
    assert log.lost == 15
    may_write.set()
    log.close()
    assert len(slow.getvalue().splitlines()) == 11


def test_nobody_reads_it_any_more(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log = AccessLog("json")
    log.write(FIELDS)
    log.close()
    assert log.lost == 1
