"""Responses of hosts: no image, too large, too late, empty, or with an untrusted certificate."""

import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest
import trustme

from millpond_io.media.addresses import Address
from millpond_io.media.fetch import Fetcher


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 500},
        {"status": 206},
        {"kind": "text/html"},
        {"kind": "application/json"},
        {"kind": None},
        {"Content_Encoding": "gzip"},
    ],
)
def test_a_response_that_is_not_an_image_is_refused(server, answer, kit):
    server.answer = lambda handler: handler.give(kit.png, **answer)
    kit.refused(kit.fetcher(server).fetch, "http://media.test/", "the response is not an image")


@pytest.mark.parametrize("length", [10_001, None, 10**15])
def test_a_file_that_is_too_large_is_not_read_to_its_end(server, length, kit):
    sent = []

    def answer(handler):
        handler.give(b"", Content_Length=length)
        sent.extend(handler.wfile.write(b"x" * 10_000) for _ in range(2000))

    server.answer = answer
    kit.refused(kit.fetcher(server).fetch, "http://media.test/", "more than 10000 bytes")
    assert len(sent) < 2000


def test_a_file_that_ends_early_is_refused(server, kit):
    server.answer = lambda handler: handler.give(kit.png, Content_Length=len(kit.png) + 5)
    kit.refused(kit.fetcher(server).fetch, "http://media.test/", "could not be fetched")


@pytest.mark.parametrize("slow", ["head", "header", "body", "endless"])
def test_the_timeout_applies_to_the_whole_response_of_a_slow_server(server, slow, kit):
    def answer(handler):
        if slow == "body":
            handler.give(b"", Content_Length=10_000)
        if slow == "endless":
            handler.give(b"", Content_Length=None)
        if slow == "header":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        for _ in range(1200):  # for a minute, unless the client disconnects
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.05)

    server.answer = answer
    began = time.monotonic()
    kit.refused(kit.fetcher(server, timeout_s=0.4).fetch, "http://media.test/", "longer than 0.4 s")
    assert time.monotonic() - began < 30


def test_a_resolver_that_hangs_is_not_waited_for(kit):
    release = threading.Event()

    def resolve(*_):
        release.wait(60)
        return []

    began = time.monotonic()
    one = Fetcher(domains=("*",), max_bytes=99, timeout_s=0.2, resolve=resolve)
    kit.refused(one.fetch, "http://media.test/", "longer than 0.2 s")
    assert time.monotonic() - began < 30
    release.set()


def test_the_error_of_an_unreachable_host_has_no_details(server, kit):
    def resolve(*_):
        raise socket.gaierror(-2, "Name or service not known")

    nowhere = Fetcher(domains=("*",), max_bytes=99, timeout_s=kit.long, resolve=resolve)
    kit.refused(nowhere.fetch, "http://x.test/", "fetched from its URL$")
    server.close()
    kit.refused(kit.fetcher(server).fetch, "http://media.test/", "could not be fetched from its URL$")


@pytest.fixture
def authority(server):
    """The authority that signed the current certificate of the server."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("media.test").configure_cert(context)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    return authority


def test_an_untrusted_certificate_is_refused(server, authority, monkeypatch, kit, tmp_path):
    seen = []
    wrap = ssl.SSLContext.wrap_socket

    def wrapped(self, opened, *, server_side=False, **settings):
        if not server_side:
            seen.append((settings["server_hostname"], self.check_hostname, self.verify_mode))
        return wrap(self, opened, server_side=server_side, **settings)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrapped)
    kit.refused(kit.fetcher(server).fetch, "https://media.test/", "could not be fetched from its URL$")
    assert seen == [("media.test", True, ssl.CERT_REQUIRED)]
    assert not server.asked
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert kit.fetcher(server).fetch("https://media.test/") == kit.png  # now an authority has


def test_connecting_takes_of_the_time_for_greeting(monkeypatch, kit):
    """By a clock that connecting sets forward: how busy the machine is does not matter."""
    connect, wrap = socket.socket.connect, ssl.SSLContext.wrap_socket
    passed, left = [0.0], []

    def slowly(self, address):
        connect(self, address)
        passed[0] += kit.long - 0.3

    def wrapped(self, opened, **settings):
        left.append(opened.gettimeout())
        return wrap(self, opened, **settings)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0])
    monkeypatch.setattr("millpond_io.media.fetch.time", clock)
    monkeypatch.setattr("millpond_io.media.connection.time", clock)
    monkeypatch.setattr(socket.socket, "connect", slowly)
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrapped)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = Address(*silent.getsockname())
        greeting = kit.fetcher(None, resolve=lambda *_: [there])
        kit.refused(greeting.fetch, "https://media.test/", "it took longer than 60 s")
    assert 0 < left[0] <= 0.3
