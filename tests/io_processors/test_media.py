"""Images from URLs: what may be fetched or read, and every way around it that is known, tried on real servers."""

import base64
import contextlib
import io
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from millpond import InvalidInputError
from millpond_io.media import Media
from millpond_io.media_addresses import is_public
from millpond_io.media_fetch import Address, Fetcher

ALONE = Path(__file__).with_name("media_in_namespace.py")


def png(size=(4, 4), mode="RGB"):
    content = io.BytesIO()
    Image.new(mode, size).save(content, format="PNG")
    return content.getvalue()


PNG = png()


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


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def fetcher(server, *, domains=("media.test",), **settings):
    """A fetcher that takes the loopback for a public address, and whose names all lead there."""
    known = {"largest": 10_000, "seconds": 2.0, "is_allowed": lambda host: host == "127.0.0.1", **settings}
    return Fetcher(domains=domains, resolve=lambda *_: [Address(socket.AF_INET, "127.0.0.1", server.port)], **known)


def refused(fetch, url, said):
    with pytest.raises(InvalidInputError, match=said) as caught:
        fetch(url)
    assert caught.value.parameter == "multi_modal_data"
    for word in ("Errno", "Traceback", "0x", "object at", "socket", "urllib", "PIL"):
        assert word not in str(caught.value)


# --- hosts ------------------------------------------------------------------------------------------------------------


def test_nothing_is_fetched_unless_it_was_allowed(server):
    for url in ("http://media.test/a.png", "https://93.184.216.34/a.png", "HTTP://MEDIA.TEST/"):
        refused(Media((), "").read, url, "may not be fetched from the host .*allowed_media_domains")
    assert fetcher(server).fetch("http://media.test/a.png?x=1#part") == PNG
    assert server.asked == [("media.test", "/a.png?x=1")]


@pytest.mark.parametrize(
    ("domains", "host", "allowed"),
    [
        (("media.test",), "media.test", True),
        (("Media.TEST.",), "MEDIA.test", True),
        (("media.test",), "media.test.", True),
        (("media.test",), "evil.media.test", False),
        (("media.test",), "media.test.evil.test", False),
        (("media.test",), "evilmedia.test", False),
        (("*.media.test",), "a.b.media.test", True),
        (("*.media.test",), "media.test", False),
        (("*.media.test",), "evilmedia.test", False),
        (("*",), "anything.test", True),
        ((), "media.test", False),
    ],
)
def test_hosts_are_allowed_by_their_names(server, domains, host, allowed):
    one = fetcher(server, domains=domains)
    if allowed:
        assert one.fetch(f"http://{host}/") == PNG
    else:
        refused(one.fetch, f"http://{host}/", "may not be fetched from the host")
        assert not server.asked


@pytest.mark.parametrize(
    "url",
    [
        "http://media.test\\@127.0.0.1/",
        "http://media.test\\.evil.test/",
        "http://media.test@127.0.0.1/",
        "http://media.test:pw@127.0.0.1/",
        "http://127.0.0.1\\media.test/",
        "http://media.test%2f@evil.test/",
        "http://media.test%00.evil.test/",
        "http://media.test /",
        "http://media.test\t/",
        "http://media.test/\r\nHost: evil.test",
        "http://media.test/a b",
        "http:///media.test/",
        "http:media.test/",
        "http:/media.test/",
        "http://",
        "http://media.test:99999999/",
        "http://media.test:/x",
        "http://m\u00e9dia.test/",
        "http://media\u3002test/",
        "http://\u212a.test/",
        "http://media.test/\u00e9",
        "http://[::1/",
        "http://::1/",
        "http://" + "a" * 5000,
    ],
)
def test_a_url_has_one_meaning_or_none(server, url):
    refused(fetcher(server, domains=("*",)).fetch, url, "must be http|may be fetched from the ports")
    assert not server.asked


@pytest.mark.parametrize("port", [8080, 22, 0, 65536, 443])
def test_other_ports_are_refused(server, port):
    refused(fetcher(server).fetch, f"http://media.test:{port}/", "the ports 80 .* alone")
    assert fetcher(server).fetch("http://media.test:80/") == PNG


# --- addresses --------------------------------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "2001:10::1",
    "5f00::1",
    "3fff::1",
    "4000::1",
)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address):
    assert is_public(address)


def test_words_are_no_addresses():
    assert not any(is_public(word) for word in ("", "localhost", "127.1", "2130706433", "0x7f.0.0.1"))


def test_all_addresses_of_a_host_must_be_public_and_none_is_connected_to(server):
    both = [Address(socket.AF_INET, "93.184.216.34", server.port), Address(socket.AF_INET, "127.0.0.1", server.port)]
    for addresses in (both, both[::-1], both[1:], []):
        one = Fetcher(domains=("*",), largest=99, resolve=lambda *_, found=addresses: found)
        refused(one.fetch, "http://media.test/", "not on the public internet")
    assert not server.asked


def test_a_name_is_resolved_once_for_a_connection(server):
    asked = []

    def resolve(host, port):  # public when it is checked, and the loopback for whoever asks again
        asked.append((host, port))
        return [Address(socket.AF_INET, "127.0.0.1" if len(asked) == 1 else "10.0.0.1", server.port)]

    one = Fetcher(domains=("*",), largest=10_000, resolve=resolve, is_allowed=lambda host: host == "127.0.0.1")
    assert one.fetch("http://media.test/") == PNG
    assert asked == [("media.test", 80)]
    refused(one.fetch, "http://media.test/", "not on the public internet")  # it has changed since


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetcher(server).fetch("http://media.test/") == PNG


# --- redirects --------------------------------------------------------------------------------------------------------


def redirects(*targets):
    """Answers that lead from one place to the next."""
    left = list(targets)

    def answer(handler):
        handler.give(b"", status=302, Location=left.pop(0)) if left else handler.give(PNG)

    return answer


def test_two_redirects_are_followed(server):
    server.answer = redirects("/b?c=d", "http://media.test/e")
    assert fetcher(server).fetch("http://media.test/a") == PNG
    assert [path for _, path in server.asked] == ["/a", "/b?c=d", "/e"]


def test_three_are_too_many(server):
    server.answer = redirects("/b", "/c", "/d")
    refused(fetcher(server).fetch, "http://media.test/a", "redirects more than 2 times")
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.test/",
        "//evil.test/",
        "http://127.0.0.1/",
        "http://media.test:8080/",
        "http://media.test\\@evil.test/",
        "http://user@media.test/",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "ftp://media.test/",
        "gopher://media.test/",
        "\u0000",
    ],
)
def test_each_redirect_is_checked_like_the_first_url(server, target):
    server.answer = redirects(target)
    refused(fetcher(server).fetch, "http://media.test/a", "may not be fetched|must be http|the ports|not be fetched")
    assert len(server.asked) == 1


def test_a_redirect_to_a_host_within_is_not_followed(server):
    server.answer = redirects("http://within.test/")
    addresses = {"media.test": "127.0.0.1", "within.test": "10.0.0.1"}
    one = fetcher(server, domains=("*",))
    one = Fetcher(
        domains=("*",),
        largest=99,
        is_allowed=one.is_allowed,
        resolve=lambda host, _: [Address(socket.AF_INET, addresses[host], server.port)],
    )
    refused(one.fetch, "http://media.test/", "not on the public internet")
    assert len(server.asked) == 1


# --- answers ----------------------------------------------------------------------------------------------------------


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
def test_an_answer_that_is_no_image_is_refused(server, answer):
    server.answer = lambda handler: handler.give(PNG, **answer)
    refused(fetcher(server).fetch, "http://media.test/", "the answer is no image")


@pytest.mark.parametrize("length", [10_001, None, 10**15])
def test_a_file_that_is_too_large_is_not_read_to_its_end(server, length):
    sent = []

    def answer(handler):
        handler.give(b"", Content_Length=length)
        sent.extend(handler.wfile.write(b"x" * 10_000) for _ in range(2000))

    server.answer = answer
    refused(fetcher(server).fetch, "http://media.test/", "more than 10000 bytes")
    assert len(sent) < 2000


def test_a_file_that_ends_early_is_refused(server):
    server.answer = lambda handler: handler.give(PNG, Content_Length=len(PNG) + 5)
    refused(fetcher(server).fetch, "http://media.test/", "could not be fetched")


@pytest.mark.parametrize("slow", ["head", "header", "body", "endless"])
def test_the_time_is_that_of_all_of_it_whatever_trickles_in(server, slow):
    def answer(handler):
        if slow == "body":
            handler.give(b"", Content_Length=1000)
        if slow == "endless":
            handler.give(b"", Content_Length=None)
        if slow == "header":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        for _ in range(60):
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.05)

    server.answer = answer
    began = time.monotonic()
    refused(fetcher(server, seconds=0.4).fetch, "http://media.test/", "longer than 0.4 s")
    assert time.monotonic() - began < 1.5


def test_a_resolver_that_hangs_is_not_waited_for():
    release = threading.Event()

    def resolve(*_):
        release.wait(20)
        return []

    began = time.monotonic()
    one = Fetcher(domains=("*",), largest=99, seconds=0.2, resolve=resolve)
    refused(one.fetch, "http://media.test/", "longer than 0.2 s")
    assert time.monotonic() - began < 1.5
    release.set()


def test_a_host_that_is_not_there_says_no_more(server):
    def resolve(*_):
        raise socket.gaierror(-2, "Name or service not known")

    refused(Fetcher(domains=("*",), largest=99, resolve=resolve).fetch, "http://x.test/", "fetched from its URL$")
    server.close()
    refused(fetcher(server).fetch, "http://media.test/", "could not be fetched from its URL$")


def test_a_certificate_that_nobody_signed_is_refused(server, monkeypatch):
    seen = []
    wrap = ssl.SSLContext.wrap_socket

    def wrapped(self, opened, **settings):
        seen.append((settings["server_hostname"], self.check_hostname, self.verify_mode))
        return wrap(self, opened, **settings)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrapped)
    refused(fetcher(server, seconds=1.0).fetch, "https://media.test/", "could not be fetched")
    assert seen == [("media.test", True, ssl.CERT_REQUIRED)]
    assert not server.asked


def test_connecting_takes_of_the_time_for_greeting(monkeypatch):
    connect = socket.socket.connect

    def slowly(self, address):
        time.sleep(0.7)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", slowly)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = Address(socket.AF_INET, *silent.getsockname())
        greeting = Fetcher(
            domains=("*",), largest=99, seconds=1.0, resolve=lambda *_: [there], is_allowed=lambda _: True
        )
        began = time.monotonic()
        refused(greeting.fetch, "https://media.test/", "it took longer than 1 s")
        assert time.monotonic() - began < 1.5


# --- in a network of its own ------------------------------------------------------------------------------------------


def test_no_byte_reaches_an_address_within():
    """A namespace with a public address, private ones and the metadata service's, and the program as it is used."""
    command = ["unshare", "--net", sys.executable, str(ALONE)]
    with contextlib.suppress(FileNotFoundError):
        probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
        if probe.returncode == 0:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            report = json.loads(done.stdout)
            assert report["fetched"] == report["asked_for"] > 0
            assert report["tried"] >= 40
            assert report["reached"] == {"93.184.216.34": report["public"]}
            assert report["longest"] < 6
            return
    pytest.skip("no network namespace can be made here: the tests above use the loopback")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder that is allowed, with an image, and beside it one that is not."""
    allowed, secret = tmp_path / "allowed", tmp_path / "allowed-not"
    (allowed / "deep er").mkdir(parents=True)
    secret.mkdir()
    for path in (allowed / "a.png", allowed / "deep er" / "b.png", secret / "s.png"):
        path.write_bytes(PNG)
    (allowed / "inside.png").symlink_to(allowed / "a.png")
    (allowed / "outside.png").symlink_to(secret / "s.png")
    (allowed / "way").symlink_to(secret)
    (allowed / "loop").symlink_to(allowed / "loop")
    os.mkfifo(allowed / "pipe")
    return allowed


def test_files_below_the_folder_are_read(folder):
    media = Media((), str(folder))
    for name in ("a.png", "deep%20er/b.png", "inside.png", "deep%20er/../a.png", "./a.png"):
        assert media.read(f"file://{folder}/{name}") == PNG
    assert media.read(f"FILE://localhost{folder}/a.png") == PNG


@pytest.mark.parametrize(
    "name",
    [
        "../allowed-not/s.png",
        "%2e%2e/allowed-not/s.png",
        "..%2fallowed-not%2fs.png",
        "outside.png",
        "way/s.png",
        "loop",
        "pipe",
        "",
        "deep%20er",
        "none.png",
        "a.png%00",
        "a.png/x",
        "../../../../../../../../etc/passwd",
    ],
)
def test_no_way_leads_out_of_the_folder(folder, name):
    refused(Media((), str(folder)).read, f"file://{folder}/{name}", "the file may not be read")


def test_other_spellings_of_files_are_refused(folder):
    media = Media((), str(folder))
    for url in (
        "file:///etc/passwd",
        "file:///dev/zero",
        "file:///proc/self/environ",
        f"file://evil.test{folder}/a.png",
        f"file://127.0.0.1{folder}/a.png",
        "file://a.png",
        f"file:////{folder}/../allowed-not/s.png",
    ):
        refused(media.read, url, "the file may not be read")
    for url in (f"file:{folder}/a.png", f"{folder}/a.png", "a.png", "", "ftp://x/", "javascript:1", " file:///a"):
        refused(media.read, url, "must begin with data:image")


def test_without_a_folder_no_file_is_read(folder):
    refused(Media((), "").read, f"file://{folder}/a.png", "the file may not be read")
    refused(Media((), str(folder / "gone")).read, f"file://{folder}/a.png", "the file may not be read")


def test_a_link_that_is_put_there_meanwhile_is_not_followed(folder, monkeypatch):
    resolve = Path.resolve

    def swapped(self, *, strict=False):
        found = resolve(self, strict=strict)
        if self.name == "b.png":  # between the check and the opening
            (folder / "deep er" / "b.png").unlink()
            (folder / "deep er").rmdir()
            (folder / "deep er").symlink_to(folder.with_name("allowed-not"))
            folder.with_name("allowed-not").joinpath("b.png").write_bytes(b"secret")
        return found

    monkeypatch.setattr(Path, "resolve", swapped)
    refused(Media((), str(folder)).read, f"file://{folder}/deep%20er/b.png", "the file may not be read")


def test_a_file_that_is_too_large_is_refused(folder):
    with (folder / "large.png").open("wb") as file:
        file.truncate(2**24)
    refused(Media((), str(folder)).read, f"file://{folder}/large.png", "more than 8388608 bytes")


# --- data -------------------------------------------------------------------------------------------------------------


def test_data_is_read():
    assert Media((), "").read("data:image/png;base64," + base64.b64encode(PNG).decode()) == PNG
    with_parameters = "DATA:image/png;charset=utf-8;name=a%20pond.png;base64,"
    assert Media((), "").read(with_parameters + base64.b64encode(PNG).decode()) == PNG
    assert Media((), "").read("DATA:image/x-y+z;BASE64," + base64.b64encode(PNG).decode()) == PNG


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data:image/png;base64,%%%", "no base64"),
        ("data:image/png;base64,AAA", "no base64"),
        ("data:image/png;base64,AA\nAA", "no base64"),
        ("data:image/png;base64,\u00e9", "no base64"),
        ("data:image/png,AAAA", "must begin with data:image"),
        ("data:text/html;base64,AAAA", "must begin with data:image"),
        ("data:;base64,AAAA", "must begin with data:image"),
        ("data:image/png;charset=x;AAAA", "must begin with data:image"),
        ("data:image/png;base64;charset=x,AAAA", "must begin with data:image"),
    ],
)
def test_data_that_is_none_is_refused(url, said):
    refused(Media((), "").read, url, said)


def test_data_that_is_too_large_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("it was decoded"))
    refused(Media((), "").read, "data:image/png;base64," + "A" * 12_000_000, "and may be 8388608")
