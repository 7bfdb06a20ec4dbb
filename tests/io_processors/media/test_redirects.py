"""Redirects: few, and each is checked like the first URL."""

import pytest

from millpond_io.media.addresses import Address


def redirects(kit, *targets):
    """Answers that lead from one place to the next."""
    left = list(targets)

    def answer(handler):
        handler.give(b"", status=302, Location=left.pop(0)) if left else handler.give(kit.png)

    return answer


def test_two_redirects_are_followed(server, kit):
    server.answer = redirects(kit, "/b?c=d", "http://media.test/e")
    assert kit.fetcher(server).fetch("http://media.test/a") == kit.png
    assert [path for _, path in server.asked] == ["/a", "/b?c=d", "/e"]


def test_a_third_redirect_is_refused(server, kit):
    server.answer = redirects(kit, "/b", "/c", "/d")
    kit.refused(kit.fetcher(server).fetch, "http://media.test/a", "redirects more than 2 times")
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
def test_each_redirect_is_checked_like_the_first_url(server, target, kit):
    server.answer = redirects(kit, target)
    kit.refused(
        kit.fetcher(server).fetch, "http://media.test/a", "may not be fetched|must be http|the ports|not be fetched"
    )
    assert len(server.asked) == 1


def test_a_redirect_to_a_host_within_is_not_followed(server, kit):
    server.answer = redirects(kit, "http://within.test/")
    addresses = {"media.test": "127.0.0.1", "within.test": "10.0.0.1"}
    resolve = lambda host, _: [Address(addresses[host], server.port)]  # noqa: E731
    one = kit.fetcher(server, domains=("*",), max_bytes=99, resolve=resolve)
    kit.refused(one.fetch, "http://media.test/", "not on the public internet")
    assert len(server.asked) == 1


def test_a_redirect_gets_no_cookie_and_no_credentials(server, kit, monkeypatch):
    asked = []

    def answer(handler):
        asked.append(sorted(name.lower() for name in handler.headers))
        if len(asked) == 1:
            handler.give(b"", status=302, Location="/b", Set_Cookie="a=b")
        else:
            handler.give(kit.png)

    server.answer = answer
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert kit.fetcher(server).fetch("http://media.test/a") == kit.png
    assert asked == [["accept", "accept-encoding", "connection", "host", "user-agent"]] * 2
