"""Lines of input files: hostile ones are errors with their line number, and do not stop those after them."""

import asyncio
import json

import pytest
from batch_client import content_of, request_line

from millpond_server.batches.dispatch import Answer, send
from millpond_server.batches.files import FileStore
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.lines import TooManyLinesError, read_lines
from millpond_server.batches.records import answer_record
from millpond_server.batches.store import BatchStore
from millpond_server.batches.worker import MAX_CHUNK_BYTES, MAX_CHUNK_LINES, BatchWorker, is_disk_error, next_chunk

ENDPOINTS = frozenset({"/v1/embeddings"})
NESTED = "[" * 300 + "]" * 300


@pytest.fixture
def read(tmp_path):
    def read(content, **limits):
        path = tmp_path / "input.jsonl"
        path.write_bytes(content)
        return list(read_lines(path, ENDPOINTS, BatchLimits(**limits)))

    return read


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"\x00", "not valid JSON"),
        (b'{"custom_id": "\xed\xa0\x80"}', "not valid JSON"),
        ("NaN", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "custom_id must be a text"),
        (request_line(1, custom_id=None), "custom_id must be a text"),
        (request_line(1, custom_id=""), "custom_id must be a text"),
        (request_line(1, custom_id="i" * 513), "of 1 to 512 characters"),
        (request_line(1, custom_id=["a"]), "custom_id must be a text"),
        (request_line(1, method="get"), "method must be 'POST', not 'get'"),
        (request_line(1, method={"a": 1}), "method must be 'POST'"),
        (request_line(1, url="/v1/files"), "Available: /v1/embeddings"),
        (request_line(1, url="http://host/v1/embeddings"), "Available: /v1/embeddings"),
        (request_line(1, url="/v1/embeddings?a=b"), "Available: /v1/embeddings"),
        (request_line(1, url=["/v1/embeddings"]), "Available: /v1/embeddings"),
        (request_line(1, body="text"), "body must be a JSON object"),
        (request_line(1, body=None), "body must be a JSON object"),
        (json.dumps(request_line(1)).replace('"the cat 1"', NESTED), "too deeply"),
        pytest.param(
            json.dumps(request_line(1)).replace('"the cat 1"', "[" + "1," * 400_000 + "1]"),
            "too many numbers",
            id="numbers",
        ),
        (json.dumps(request_line(1)).replace('"the cat 1"', "[" + "1:" * 200_000 + "]"), "lists, objects and fields"),
    ],
)
def test_a_hostile_line_is_an_error_and_the_next_is_read(read, line, message):
    content = line + b"\n" if isinstance(line, bytes) else content_of([line])
    first, second = read(content + content_of([request_line(2)]), line_values=100_000)
    assert (first.number, second.number, second.error) == (1, 2, None)
    assert message in first.error
    assert len(first.error) < 500


def test_lines_over_the_limit_are_skipped_in_small_parts(read):
    long_line = b"x" * 5_000_000
    lines = read(b"\n".join([long_line, *content_of([request_line(2)]).split(b"\n"), long_line]), line_bytes=1000)
    assert [(line.number, line.error is None) for line in lines] == [(1, False), (2, True), (4, False)]
    assert "over the limit of 1000 bytes" in lines[0].error


def test_a_line_of_exactly_the_limit_is_read(read):
    content = content_of([request_line(1)])
    assert read(content, line_bytes=len(content) - 1)[0].error is None
    assert "over the limit" in read(content, line_bytes=len(content) - 2)[0].error


def test_only_later_lines_with_a_custom_id_are_duplicates(read):
    lines = read(content_of([request_line(1), "", request_line(1), "  ", request_line(2)]))
    assert [(line.number, line.error) for line in lines] == [
        (1, None),
        (3, "custom_id 'request-1' is not unique"),
        (5, None),
    ]


def test_blank_lines_count_as_lines(read):
    with pytest.raises(TooManyLinesError):
        read(b"\n" * 11, lines=10)
    assert read(b"\n" * 10, lines=10) == []


def test_carriage_returns_and_a_missing_last_newline_are_accepted(read):
    content = content_of([request_line(1), request_line(2)]).replace(b"\n", b"\r\n").rstrip()
    assert [line.error for line in read(content)] == [None, None]


def test_a_byte_order_mark_is_ignored(read):
    content = b"\xef\xbb\xbf" + content_of([request_line(1), request_line(2)])
    assert [line.error for line in read(content)] == [None, None]
    assert read(content[:3]) == []


def test_chunks_of_lines_are_limited_in_number_and_size(read):
    small = iter(read(content_of([request_line(number) for number in range(MAX_CHUNK_LINES + 1)])))
    assert [len(next_chunk(small)) for _ in range(3)] == [MAX_CHUNK_LINES, 1, 0]
    body = {"model": "bert", "input": "x" * (MAX_CHUNK_BYTES // 2)}
    large = iter(read(content_of([request_line(number, body=body) for number in range(3)])))
    assert [len(next_chunk(large)) for _ in range(2)] == [2, 1]


def test_batches_use_fewer_slots_while_live_requests_run(tmp_path):
    limits = BatchLimits(concurrency=5, concurrency_beside_live=2)
    busy = [True]

    async def started():
        """Return the number of started requests while live requests run, and after them."""
        worker = BatchWorker(
            application(),
            FileStore(tmp_path / "files", limits),
            BatchStore(tmp_path / "batches", limits),
            limits,
            is_busy=lambda: bool(busy),
            shares_cache=False,
        )
        counts = []
        slots = [asyncio.ensure_future(worker.take_slot()) for _ in range(9)]
        for _ in range(2):
            await asyncio.sleep(0.2)
            counts.append(sum(slot.done() for slot in slots))
            busy.clear()
        for slot in slots:
            slot.cancel()
        return counts

    assert asyncio.run(started()) == [2, 5]


def test_errors_of_the_disk_are_distinguished_from_others():
    assert is_disk_error(OSError())
    assert is_disk_error(ExceptionGroup("", [OSError(), ExceptionGroup("", [FileNotFoundError()])]))
    assert not is_disk_error(ExceptionGroup("", [OSError(), ValueError()]))


def application(*reasons):
    """Return an application that refuses a request for each reason, and then serves it."""
    remaining = list(reasons)

    async def app(scope, receive, send):
        await receive()
        reason = remaining.pop(0) if remaining else ""
        scope["millpond.reason"] = reason
        headers = [(b"content-type", b"application/json"), (b"retry-after-ms", b"1")]
        await send({"type": "http.response.start", "status": 503 if reason else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


@pytest.mark.parametrize(
    ("reasons", "stops", "status"),
    [(["queue", "dead", "intake"], False, 200), (["memory"], False, 503), (["queue"], True, None), ([], True, 200)],
)
def test_refused_requests_are_sent_again_until_the_batch_stops(reasons, stops, status):
    answer = asyncio.run(send(application(*reasons), "/", b"{}", "id", must_stop=lambda: stops))
    assert (answer and answer.status) == status


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, b"{}", {"content-type": "application/json"}), "incomplete"),
        (Answer(200, b"\x00", {"content-type": "application/octet-stream"}, is_complete=True), "not_json"),
    ],
)
def test_responses_that_cannot_be_stored_are_errors(read, answer, code):
    (line,) = read(content_of([request_line(1)]))
    record, is_error = answer_record("batch_0", line, answer)
    assert is_error
    assert record["error"]["code"] == code
