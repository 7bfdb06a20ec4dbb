"""TLS: certificates, keys and passwords, client certificates, errors, and graceful shutdown."""

import concurrent.futures
import signal
import ssl
import time
from pathlib import Path

import httpx2
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from waiting import eventually

from millpond_command.cli import CommandError

PATIENCE = 60
PASSWORD = "open sesame"


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


class Files:
    """Files with a certificate for 127.0.0.1: with its key, without it, and the key with and without a password."""

    def __init__(self, authority, folder):
        issued = authority.issue_cert("127.0.0.1")
        self.both, self.certificate, self.key, self.locked, self.ca = (
            str(folder / name) for name in ("both.pem", "certificate.pem", "key.pem", "locked.pem", "ca.pem")
        )
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)
        issued.private_key_pem.write_to_path(self.key)
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(self.certificate, append=number > 0)
        authority.cert_pem.write_to_path(self.ca)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
        form = serialization.PrivateFormat.PKCS8
        Path(self.locked).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))


@pytest.fixture(scope="session")
def files(authority, tmp_path_factory):
    return Files(authority, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def trusting(authority):
    """The TLS context of clients that trust the certificate authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def embed(client):
    return client.post("/v1/embeddings", json={"input": "a boat", "encoding_format": "float"})


def settings(**more):
    from millpond_server.runtime.settings import Settings

    return Settings(**more)


def test_https_serves_requests_and_plain_http_is_refused(local, files, trusting):
    server = local(ssl_certfile=files.both)
    assert server.address.startswith("https://127.0.0.1:")
    assert server.state.end.__self__.config.ssl.minimum_version == ssl.TLSVersion.TLSv1_2
    with server.client(verify=trusting) as client:
        assert embed(client).status_code == 200
        message = client.get("/nope")
        assert (message.status_code, message.headers["x-request-id"] != "") == (404, True)
        large = client.post("/v1/embeddings", content=b"x" * 4_000_000, headers={"a": "b" * 40_000})
        assert large.status_code == 431
    with pytest.raises(httpx2.TransportError), httpx2.Client(base_url=server.address, timeout=5.0) as stranger:
        embed(stranger)  # who does not know the authority
    with pytest.raises(httpx2.TransportError):
        httpx2.get(server.address.replace("https", "http") + "/health", timeout=5.0)


def test_a_connection_that_never_encrypts_is_closed(local, files, trusting, monkeypatch):
    monkeypatch.setattr("millpond_server.runtime.http_server.HANDSHAKE_TIMEOUT_S", 0.5)
    server = local(ssl_certfile=files.both)
    began = time.monotonic()
    with server.connect() as silent:
        assert silent.recv(1) == b""
    assert time.monotonic() - began < 10
    with server.client(verify=trusting) as client:
        assert client.get("/live").status_code == 200


def test_clients_without_a_required_certificate_are_refused(local, files, trusting, authority):
    server = local(ssl_certfile=files.certificate, ssl_keyfile=files.key, ssl_ca_certs=files.ca, ssl_cert_reqs=2)
    with pytest.raises(httpx2.TransportError), server.client(verify=trusting) as client:
        client.get("/live")
    known = ssl.create_default_context()
    authority.configure_trust(known)
    authority.issue_cert("client@example.org").configure_cert(known)
    with server.client(verify=known) as client:
        assert embed(client).status_code == 200


def test_invalid_certificates_are_clear_errors(files, authority, tmp_path):
    from millpond_server.http.tls import check_tls, tls_options

    other = Files(authority, tmp_path)
    (tmp_path / "empty.pem").write_text("")
    empty = str(tmp_path / "empty.pem")
    both = {"ssl_certfile": files.certificate}
    cases = [
        ({"ssl_certfile": "/nowhere.pem"}, r"--ssl-certfile '/nowhere.pem' cannot be read: No such file"),
        ({**both, "ssl_keyfile": "/nowhere.pem"}, r"--ssl-keyfile '/nowhere.pem' cannot be read"),
        ({**both, "ssl_keyfile": other.key}, r"the key in '.*' does not belong to the certificate in '.*'"),
        (both, r"'.*' contains no PEM private key: pass its file with --ssl-keyfile"),
        ({"ssl_certfile": empty, "ssl_keyfile": files.key}, r"cannot be used"),
        ({**both, "ssl_keyfile": files.locked}, r"MILLPOND_SSL_KEYFILE_PASSWORD, is needed for the key"),
        ({**both, "ssl_keyfile": files.locked, "ssl_keyfile_password": "x"}, r"is wrong for the key"),
        ({"ssl_keyfile": files.key}, r"--ssl-keyfile needs --ssl-certfile"),
        ({"ssl_cert_reqs": 2}, r"--ssl-cert-reqs needs --ssl-certfile"),
        ({"ssl_certfile": files.both, "ssl_cert_reqs": 1}, r"needs --ssl-ca-certs, a file"),
        ({"ssl_certfile": files.both, "ssl_ca_certs": empty}, r"--ssl-ca-certs '.*' contains no PEM certificates"),
        ({"ssl_certfile": files.both, "ssl_ca_certs": "/nowhere"}, r"--ssl-ca-certs '/nowhere' cannot be read"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            check_tls(settings(**options))
    check_tls(settings())
    assert tls_options(settings()) == {}
    check_tls(settings(**both, ssl_keyfile=files.locked, ssl_keyfile_password=PASSWORD))


def test_the_password_may_come_from_the_environment_and_is_never_shown():
    from millpond_server.command.options import LimitOptions, ServerOptions
    from millpond_server.command.settings import settings_of

    environment = {"MILLPOND_SSL_KEYFILE_PASSWORD": PASSWORD}
    server_settings = settings_of(ServerOptions(ssl_certfile="a"), LimitOptions(), environment)
    assert server_settings.ssl_keyfile_password == PASSWORD
    assert PASSWORD not in repr(server_settings)
    typed = ServerOptions(ssl_certfile="a", ssl_keyfile_password="typed")
    assert settings_of(typed, LimitOptions(), environment).ssl_keyfile_password == "typed"
    assert settings_of(ServerOptions(), LimitOptions(), environment).ssl_keyfile_password is None
    with pytest.raises(CommandError, match=r"--ssl-cert-reqs 3: input should be less than or equal to 2"):
        settings_of(ServerOptions(ssl_cert_reqs=3), LimitOptions(), {})


@pytest.mark.slow
def test_the_command_serves_https_and_sigterm_loses_no_request(folder, serving, files, trusting):
    outcomes, lost = [], []

    def hammer(address):
        while True:
            try:
                with httpx2.Client(base_url=address, timeout=30.0, verify=trusting) as client:
                    outcomes.extend(embed(client).status_code for _ in range(20))
            except httpx2.ConnectError:
                return  # it listens no more
            except httpx2.HTTPError as error:
                lost.append(repr(error))

    arguments = ("--ssl-certfile", files.certificate, "--ssl-keyfile", files.locked, "--drain-delay", "0.5")
    environment = {"MILLPOND_SSL_KEYFILE_PASSWORD": PASSWORD}
    with (
        serving(folder, *arguments, env=environment) as running,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        assert running.address.startswith("https://")
        assert any("URLs  " in line and f"{running.address}/v1/embeddings" in line for line in running.lines)
        hammers = [pool.submit(hammer, running.address) for _ in range(8)]
        eventually(lambda: len(outcomes) >= 100, *hammers)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
        for one in hammers:
            one.result()
    assert set(outcomes) == {200}
    assert lost == []
