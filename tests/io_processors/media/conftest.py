"""Fixtures for images from URLs: a real server, a fetcher that may speak to it, and how a refusal reads."""

import contextlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from PIL import Image

from millpond import InvalidInputError
from millpond_io.media.addresses import Address
from millpond_io.media.fetch import Fetcher


def png(size=(4, 4), mode="RGB"):
    content = io.BytesIO()
    Image.new(mode, size).save(content, format="PNG")
    return content.getvalue()


PNG = png()
LONG_TIMEOUT_S = 60.0  # seconds, which no fetch here takes however busy the machine


class Server:
    """A real HTTP server on the loopback, whose answers a test chooses."""

    def __init__(self):
        self.asked = []
        self.answer = lambda handler: handler.give(PNG)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.headers["Host"], self.path))
                with contextlib.suppress(OSError):
                    outer.answer(self)

            def give(self, content, *, status=200, kind="image/png", **headers):
                self.send_response(status)
                for name, value in {"Content_Type": kind, "Content_Length": len(content), **headers}.items():
                    if value is not None:
                        self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def fetcher(server, *, domains=("media.test",), **settings):
    """A fetcher that takes the loopback for a public address, and whose names all lead there."""
    there = lambda *_: [Address("127.0.0.1", server.port)]  # noqa: E731
    known = {"resolve": there, "is_allowed": lambda host: host == "127.0.0.1"}
    return Fetcher(domains=domains, **{"max_bytes": 10_000, "timeout_s": LONG_TIMEOUT_S, **known, **settings})


def refused(fetch, url, message):
    """Check that the fetch fails with an error that contains no internal details."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        fetch(url)
    assert caught.value.parameter == "multi_modal_data"
    for word in ("Errno", "Traceback", "0x", "object at", "socket", "urllib", "PIL"):
        assert word not in str(caught.value)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The helpers of this module, because test modules cannot import it."""
    return SimpleNamespace(png=PNG, long=LONG_TIMEOUT_S, fetcher=fetcher, refused=refused)


@pytest.fixture
def server():
    """The server, closed with the test."""
    server = Server()
    yield server
    server.close()
