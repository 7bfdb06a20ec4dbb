"""Simulate clients of a server in one process; each sends its next request when it has received a response.

The job is read from stdin as JSON: ``host``, ``port``, ``path``, ``bodies``, ``clients``, ``warm`` and ``seconds``. Two
lines are written to stdout: ``begin`` after the warm-up, and the figures as JSON at the end. To measure the server
only, this script uses only the standard library, sends prepared bytes, and does not parse the bodies of responses.
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

READ_BYTES = 1 << 18  # more than a response has
RESPONSE_TIMEOUT = 60.0  # seconds
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END_OF_HEAD = b"\r\n\r\n"
CLOSED = "the server closed a connection"


def request_bytes(host: str, port: int, path: str, body: str) -> bytes:
    """Return a POST request with a JSON body for a persistent connection."""
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nuser-agent: millpond-benchmark\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Client:
    """A connection with at most one open request.

    Attributes:
        sent: The time when its request was sent, from ``time.perf_counter``.
        status: The status of its last response.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=RESPONSE_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self.status = ""
        self._response = b""
        self._response_bytes = 0  # head and body; 0 until the head is complete

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._response, self._response_bytes = b"", 0
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read available data; returns True if the response is complete.

        Raises:
            ConnectionError: If the server closes the connection, or sends no content-length.
        """
        part = self.socket.recv(READ_BYTES)
        if not part:
            raise ConnectionError(CLOSED)
        self._response = self._response + part if self._response else part
        if not self._response_bytes:
            head = self._response.find(END_OF_HEAD)
            if head < 0:
                return False
            length = CONTENT_LENGTH.search(self._response, 0, head)
            if length is None:
                message = f"a response without content-length: {self._response[:200]!r}"
                raise ConnectionError(message)
            self.status = self._response[9:12].decode("ascii")
            self._response_bytes = head + len(END_OF_HEAD) + int(length[1])
        return len(self._response) >= self._response_bytes


class Load:
    """Several clients of one server."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes], clients: int) -> None:
        """Connect all clients, and send the first request of each.

        Args:
            host: The host of the server.
            port: The port of the server.
            requests: The requests, sent in a cycle.
            clients: The number of clients.
        """
        self._requests = cycle(requests)
        self._poll = select.poll()
        self._clients: dict[int, Client] = {}
        for _ in range(clients):
            client = Client(host, port)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.POLLIN)
            client.send(next(self._requests))

    def run(self, seconds: float) -> list[tuple[float, str]]:
        """Send requests for some time; returns latency and status of each response."""
        end, responses = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            for client in self._completed():
                responses.append((time.perf_counter() - client.sent, client.status))
                client.send(next(self._requests))
        return responses

    def finish(self) -> None:
        """Wait for the open requests, and close the connections."""
        waiting = len(self._clients)
        while waiting:
            waiting -= sum(1 for _ in self._completed())
        for client in self._clients.values():
            client.socket.close()

    def _completed(self) -> Iterator[Client]:
        ready = self._poll.poll(RESPONSE_TIMEOUT * 1000)
        if not ready:
            message = f"no response within {RESPONSE_TIMEOUT:g} seconds"
            raise ConnectionError(message)
        return (self._clients[number] for number, _ in ready if self._clients[number].receive())


def main() -> None:
    """Run the job on stdin."""
    job = json.load(sys.stdin)
    host, port = job["host"], job["port"]
    requests = [request_bytes(host, port, job["path"], body) for body in job["bodies"]]
    load = Load(host, port, requests, job["clients"])
    load.run(job["warm"])
    print("begin", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    responses = load.run(job["seconds"])
    figures = {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "latencies": [latency for latency, _ in responses],
        "statuses": Counter(status for _, status in responses),
    }
    print(json.dumps(figures), flush=True)
    load.finish()


if __name__ == "__main__":
    main()
