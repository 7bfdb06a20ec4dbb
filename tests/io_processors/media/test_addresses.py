"""Allowed addresses: public ones, checked when the connection is made."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from millpond_io.media.addresses import Address, is_public
from millpond_io.media.fetch import Fetcher

ALONE = Path(__file__).with_name("in_namespace.py")
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


def test_only_complete_ip_addresses_are_public():
    assert not any(is_public(word) for word in ("", "localhost", "127.1", "2130706433", "0x7f.0.0.1"))


def test_all_addresses_of_a_host_must_be_public_and_none_is_connected_to(server, kit):
    both = [Address("93.184.216.34", server.port), Address("127.0.0.1", server.port)]
    for addresses in (both, both[::-1], both[1:], []):
        one = Fetcher(domains=("*",), max_bytes=99, timeout_s=kit.long, resolve=lambda *_, result=addresses: result)
        kit.refused(one.fetch, "http://media.test/", "not on the public internet")
    assert not server.asked


def test_a_name_is_resolved_once_for_a_connection(server, kit):
    asked = []

    def resolve(host, port):  # public when it is checked, and the loopback address for the next query
        asked.append((host, port))
        return [Address("127.0.0.1" if len(asked) == 1 else "10.0.0.1", server.port)]

    one = kit.fetcher(server, domains=("*",), resolve=resolve)
    assert one.fetch("http://media.test/") == kit.png
    assert asked == [("media.test", 80)]
    kit.refused(one.fetch, "http://media.test/", "not on the public internet")  # it has changed since


def test_proxies_of_the_environment_are_not_used(server, monkeypatch, kit):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert kit.fetcher(server).fetch("http://media.test/") == kit.png


def test_no_byte_is_sent_to_an_internal_address():
    """A namespace with a public address, private ones and the metadata service's, and the program as it is used."""
    command = ["unshare", "--net", sys.executable, str(ALONE)]
    with contextlib.suppress(FileNotFoundError):
        probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
        if probe.returncode == 0:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
            report = json.loads(done.stdout)
            assert report["fetched"] == report["asked_for"] > 0
            assert report["tried"] >= 40
            assert report["reached"] == {"93.184.216.34": report["public"]}
            assert report["longest"] < 30  # seconds: it may try for 5, and a busy machine take its time
            return
    pytest.skip("no network namespace can be made here: the tests above use the loopback")
