"""URLs that may be fetched: allowed hosts and ports, and unambiguous URLs."""

import sys

import pytest

from millpond.types.errors import MissingDependencyError
from millpond_io.media.urls import Media


def test_nothing_is_fetched_unless_it_was_allowed(server, kit):
    for url in ("http://media.test/a.png", "https://93.184.216.34/a.png", "HTTP://MEDIA.TEST/"):
        kit.refused(Media((), "").read, url, "may not be fetched from the host .*allowed_media_domains")
    assert kit.fetcher(server).fetch("http://media.test/a.png?x=1#part") == kit.png
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
def test_hosts_are_allowed_by_their_names(server, domains, host, allowed, kit):
    one = kit.fetcher(server, domains=domains)
    if allowed:
        assert one.fetch(f"http://{host}/") == kit.png
    else:
        kit.refused(one.fetch, f"http://{host}/", "may not be fetched from the host")
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
def test_a_url_has_one_meaning_or_none(server, url, kit):
    kit.refused(kit.fetcher(server, domains=("*",)).fetch, url, "must be http|may be fetched from the ports")
    assert not server.asked


@pytest.mark.parametrize("port", [8080, 22, 0, 65536, 443])
def test_other_ports_are_refused(server, port, kit):
    kit.refused(kit.fetcher(server).fetch, f"http://media.test:{port}/", "only be fetched from the ports 80")
    assert kit.fetcher(server).fetch("http://media.test:80/") == kit.png


def test_without_httpcore_the_error_contains_the_install_command(server, kit, monkeypatch):
    monkeypatch.delitem(sys.modules, "millpond_io.media.connection", raising=False)
    monkeypatch.delattr("millpond_io.media.connection", raising=False)
    monkeypatch.setitem(sys.modules, "httpcore2", None)
    with pytest.raises(MissingDependencyError, match="pip install httpcore2"):
        kit.fetcher(server).fetch("http://media.test/a")
    assert not server.asked
