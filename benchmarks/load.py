"""Clients of a server in one process, each of which asks again once it is answered: what they saw, and what they cost.

The request stands on stdin as JSON: ``host``, ``port``, ``path``, ``bodies``, ``clients``, ``warm`` and ``seconds``.
Two lines come back: ``begin`` when the warm-up is over, and the figures as JSON when the time is. It needs nothing but
Python's own library, writes bytes that were made before the clock was started, and reads no more of an answer than its
length: what is measured is the server.
"""

import json
import re
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle

CHUNK = 1 << 18  # bytes; an answer is a fraction of it
PATIENCE = 60.0  # seconds for an answer
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HEAD_ENDS = b"\r\n\r\n"
CLOSED = "the server has closed a connection"


def request_bytes(host: str, port: int, path: str, body: str) -> bytes:
    """A POST of JSON on a connection that stays open."""
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nuser-agent: millpond-benchmark\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Client:
    """One connection, with at most one request on its way.

    Attributes:
        sent: When its request was sent, by ``time.perf_counter``.
        status: The status of its last answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self.status = ""
        self._answer = b""
        self._whole = 0  # bytes of the answer; 0 while its head is not there

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self._answer, self._whole = b"", 0
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def take(self) -> bool:
        """Read what has come; whether the answer is whole.

        Raises:
            ConnectionError: If the server closes the connection, or does not say how long its answer is.
        """
        part = self.socket.recv(CHUNK)
        if not part:
            raise ConnectionError(CLOSED)
        self._answer = self._answer + part if self._answer else part
        if not self._whole:
            head = self._answer.find(HEAD_ENDS)
            if head < 0:
                return False
            length = LENGTH.search(self._answer, 0, head)
            if length is None:
                message = f"an answer without content-length: {self._answer[:200]!r}"
                raise ConnectionError(message)
            self.status = self._answer[9:12].decode("ascii")
            self._whole = head + len(HEAD_ENDS) + int(length[1])
        return len(self._answer) >= self._whole


class Load:
    """So many clients of one server."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes], clients: int) -> None:
        """Connect all, and have each ask its first.

        Args:
            host: Where the server is.
            port: Likewise.
            requests: What is asked, over and over.
            clients: How many there are.
        """
        self._requests = cycle(requests)
        self._poll = select.poll()
        self._clients: dict[int, Client] = {}
        for _ in range(clients):
            client = Client(host, port)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.POLLIN)
            client.ask(next(self._requests))

    def run(self, seconds: float) -> list[tuple[float, str]]:
        """Ask for some time: seconds and status of each answer."""
        end, answers = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            for client in self._answered():
                answers.append((time.perf_counter() - client.sent, client.status))
                client.ask(next(self._requests))
        return answers

    def finish(self) -> None:
        """Wait for what is on its way, and go."""
        waiting = len(self._clients)
        while waiting:
            waiting -= sum(1 for _ in self._answered())
        for client in self._clients.values():
            client.socket.close()

    def _answered(self) -> Iterator[Client]:
        ready = self._poll.poll(PATIENCE * 1000)
        if not ready:
            message = f"no answer within {PATIENCE:g} seconds"
            raise ConnectionError(message)
        return (self._clients[number] for number, _ in ready if self._clients[number].take())


def main() -> None:
    """Do what stands on stdin."""
    job = json.load(sys.stdin)
    host, port = job["host"], job["port"]
    requests = [request_bytes(host, port, job["path"], body) for body in job["bodies"]]
    load = Load(host, port, requests, job["clients"])
    load.run(job["warm"])
    print("begin", flush=True)
    began, cpu = time.perf_counter(), time.process_time()
    answers = load.run(job["seconds"])
    figures = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "latencies": [latency for latency, _ in answers],
        "statuses": Counter(status for _, status in answers),
    }
    print(json.dumps(figures), flush=True)
    load.finish()


if __name__ == "__main__":
    main()
