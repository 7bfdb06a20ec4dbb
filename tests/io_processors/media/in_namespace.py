"""Run by test_addresses.py in a network namespace: what of many URLs reaches which address, as JSON on stdout."""

import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from fcntl import ioctl
from subprocess import run

from millpond import InvalidInputError
from millpond_io.media.urls import Media

PUBLIC = "93.184.216.34"
WITHIN = ("169.254.169.254", "10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nPNG"
UP = 0x1 | 0x40
# What each spelling of an address within leads to, if it leads anywhere.
SPELLINGS = (
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "127.8.8.8",
    "0",
    "0.0.0.0",
    "0x0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "10.0.0.7",
    "10.7",
    "167772167",
    "0xa000007",
    "192.168.1.1",
    "3232235777",
    "172.16.0.1",
    "100.64.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "metadata.test",
    "rebound.test",
    "both.test",
    "mapped.test",
)
NAMES = {
    "public.test": [[PUBLIC]],
    "metadata.test": [["169.254.169.254"]],
    "rebound.test": [["10.0.0.7"], [PUBLIC]],
    "flips.test": [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]],
    "both.test": [[PUBLIC, "127.0.0.1"]],
    "mapped.test": [["::ffff:10.0.0.7"]],
}


def prepare():
    """The loopback up, with all the addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", UP))
    for address in (PUBLIC, *WITHIN):
        run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)


def listen(reached, family, address, redirects):
    listening = socket.create_server((address, 80), family=family, backlog=64)

    def serve():
        while True:
            connected, _ = listening.accept()
            with connected:
                reached[connected.getsockname()[0].removeprefix("::ffff:")] += 1
                asked = connected.recv(4096)
                target = redirects.get(asked.split(b" ")[1].decode())
                lead = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"
                connected.sendall(ANSWER if target is None else lead % target.encode())

    threading.Thread(target=serve, daemon=True).start()


def resolver(left):
    """The system's, with names that a test knows; what they lead to changes from one question to the next."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **settings):
        if host not in left:
            return real(host, port, *args, **settings)
        addresses = left[host].pop(0) if len(left[host]) > 1 else left[host][0]
        return [answer for address in addresses for answer in real(address, port, *args, **settings)]

    return getaddrinfo


def main():
    prepare()
    reached: Counter[str] = Counter()
    redirects = {f"/to/{index}": f"http://{spelling}/" for index, spelling in enumerate(SPELLINGS)}
    listen(reached, socket.AF_INET, "0.0.0.0", redirects)
    listen(reached, socket.AF_INET6, "::", redirects)
    socket.getaddrinfo = resolver({name: [list(one) for one in answers] for name, answers in NAMES.items()})
    media = Media(("*",), "")
    fetched, longest, tried, public = 0, 0.0, 0, 0
    # Each spelling by itself, and as what a public host redirects to.
    urls = [f"http://{spelling}/" for spelling in SPELLINGS] + [f"http://{PUBLIC}{path}" for path in redirects]
    for url in urls:
        began = time.monotonic()
        tried, public = tried + 1, public + (PUBLIC in url)
        try:
            media.read(url)
        except InvalidInputError:
            longest = max(longest, time.monotonic() - began)
        else:
            # The second time that rebound.test is asked for, it is a public address: that one may be fetched.
            sys.exit(f"{url} was fetched") if "rebound" not in url and "/to/" not in url else None
            public += 1
    good = ("public.test", PUBLIC, "flips.test")
    for host in good:
        fetched += media.read(f"http://{host}/") == b"PNG"
        public += 1
    print(  # noqa: T201  the report
        json.dumps(
            {
                "fetched": fetched,
                "asked_for": len(good),
                "tried": tried,
                "public": public,
                "reached": dict(reached),
                "longest": longest,
            }
        )
    )


main()
