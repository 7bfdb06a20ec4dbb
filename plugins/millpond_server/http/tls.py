"""HTTPS: uvicorn's options for it, checked before the models are loaded; errors name the option of the command."""

import ssl
from pathlib import Path
from typing import Any

from millpond_server.runtime.settings import Settings

HANDSHAKE_SECONDS = 5.0  # for a connection to agree on its encryption
OPTIONS = ("ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs", "ssl_cert_reqs")


def tls_options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options for HTTPS; none for a server without encryption."""
    return {name: value for name in OPTIONS if (value := getattr(settings, name))}


def check_tls(settings: Settings) -> None:
    """Refuse options that mean nothing together, and files that are missing, damaged, or do not match.

    Raises:
        ValueError: With the option and the reason.
    """
    options = tls_options(settings)
    certificate = settings.ssl_certfile
    if certificate is None:
        if options:
            message = f"{_option(next(iter(options)))} needs --ssl-certfile, the certificate that the server shows"
            raise ValueError(message)
        return
    if settings.ssl_cert_reqs and settings.ssl_ca_certs is None:
        message = (
            f"--ssl-cert-reqs {settings.ssl_cert_reqs} asks clients for certificates, and --ssl-ca-certs does not say "
            f"whose: name a file with the certificates of those who sign them"
        )
        raise ValueError(message)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _check_certificate(context, settings, certificate)
    if settings.ssl_ca_certs is not None:
        _read("ssl_ca_certs", settings.ssl_ca_certs)
        try:
            context.load_verify_locations(settings.ssl_ca_certs)
        except ssl.SSLError as error:
            message = f"--ssl-ca-certs {settings.ssl_ca_certs!r} holds no certificates in PEM: {_reason(error)}"
            raise ValueError(message) from error


def _check_certificate(context: ssl.SSLContext, settings: Settings, certificate: str) -> None:
    key = settings.ssl_keyfile or certificate
    _read("ssl_certfile", certificate)
    content = _read("ssl_keyfile", key)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password=lambda: settings.ssl_keyfile_password or "")
    except (ssl.SSLError, ValueError) as error:
        reason = _reason(error)
        if "KEY_VALUES_MISMATCH" in reason:
            message = f"the key in {key!r} does not belong to the certificate in {certificate!r}"
        elif b"ENCRYPTED" in content:
            how = "does not open" if settings.ssl_keyfile_password else "is needed for"
            message = f"--ssl-keyfile-password, or MILLPOND_SSL_KEYFILE_PASSWORD, {how} the key in {key!r}: {reason}"
        elif b"PRIVATE KEY-----" not in content:
            message = f"there is no private key in PEM in {key!r}: --ssl-keyfile names the file that holds it"
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
