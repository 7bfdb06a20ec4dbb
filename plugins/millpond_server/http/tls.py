"""TLS options for uvicorn, checked before the models are loaded."""

import ssl
from pathlib import Path
from typing import Any

from millpond_server.runtime.settings import Settings

HANDSHAKE_TIMEOUT_S = 5.0
TLS_SETTINGS = ("ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs", "ssl_cert_reqs")


def tls_options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's TLS options; an empty dictionary for a server without TLS."""
    return {name: value for name in TLS_SETTINGS if (value := getattr(settings, name))}


def check_tls(settings: Settings) -> None:
    """Check that the TLS options are consistent, and that their files are readable, valid, and match.

    Raises:
        ValueError: With the command-line option and the reason.
    """
    options = tls_options(settings)
    certificate = settings.ssl_certfile
    if certificate is None:
        if options:
            message = f"{_option(next(iter(options)))} needs --ssl-certfile, the certificate of the server"
            raise ValueError(message)
        return
    if settings.ssl_cert_reqs and settings.ssl_ca_certs is None:
        message = (
            f"--ssl-cert-reqs {settings.ssl_cert_reqs} requests client certificates and needs --ssl-ca-certs, a file "
            "with the CA certificates to verify them with"
        )
        raise ValueError(message)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _check_certificate(context, settings, certificate)
    if settings.ssl_ca_certs is not None:
        _read("ssl_ca_certs", settings.ssl_ca_certs)
        try:
            context.load_verify_locations(settings.ssl_ca_certs)
        except ssl.SSLError as error:
            message = f"--ssl-ca-certs {settings.ssl_ca_certs!r} contains no PEM certificates: {_reason(error)}"
            raise ValueError(message) from error


def _check_certificate(context: ssl.SSLContext, settings: Settings, certificate: str) -> None:
    key = settings.ssl_keyfile or certificate
    _read("ssl_certfile", certificate)
    content = _read("ssl_keyfile", key)
    try:
        # Without a password, OpenSSL would prompt for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: settings.ssl_keyfile_password or "")
    except (ssl.SSLError, ValueError) as error:
        reason = _reason(error)
        if "KEY_VALUES_MISMATCH" in reason:
            message = f"the key in {key!r} does not belong to the certificate in {certificate!r}"
        elif b"ENCRYPTED" in content:
            problem = "is wrong for" if settings.ssl_keyfile_password else "is needed for"
            message = (
                f"--ssl-keyfile-password, or MILLPOND_SSL_KEYFILE_PASSWORD, {problem} the key in {key!r}: {reason}"
            )
        elif b"PRIVATE KEY-----" not in content:
            message = f"{key!r} contains no PEM private key: pass its file with --ssl-keyfile"
        else:
            message = f"--ssl-certfile {certificate!r} and --ssl-keyfile {key!r} cannot be used: {reason}"
        raise ValueError(message) from error


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        message = f"{_option(name)} {path!r} cannot be read: {error.strerror or error}"
        raise ValueError(message) from error


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
