"""Tls: the certificate that a server shows, whom it asks for one, and how it takes a renewed one without a restart."""

import logging
import ssl
from pathlib import Path

from millpond_server.runtime.settings import Settings

logger = logging.getLogger(__name__)
HANDSHAKE = 5.0  # seconds for a connection to agree on its encryption
WITHOUT = "ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs", "ssl_cert_reqs"


class Certificate:
    """The certificate of a server.

    Attributes:
        context: What encrypts connections by it.
    """

    def __init__(self, settings: Settings) -> None:
        """Read it.

        Raises:
            ValueError: If its files are missing, damaged, or do not belong together.
        """
        self._settings = settings
        self._seen = _times(settings)
        self.context = _context(settings)

    def refresh(self) -> None:
        """Read it anew if its files have changed; one that is no good is told of, and the old one kept."""
        times = _times(self._settings)
        if times == self._seen:
            return
        self._seen = times
        try:
            _context(self._settings)  # else a fault would leave the one in use with half of each
            _load(self.context, self._settings)
        except ValueError as error:
            logger.error("the old certificate is kept: %s", error)  # noqa: TRY400  it says all of it
            return
        logger.warning("the certificate in %s was read anew", self._settings.ssl_certfile)


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that the settings name; None for a server without encryption.

    Raises:
        ValueError: If they name what means nothing without one, or its files are no good.
    """
    if settings.ssl_certfile is not None:
        return Certificate(settings)
    given = [name for name in WITHOUT if getattr(settings, name)]
    if given:
        message = f"--{given[0].replace('_', '-')} needs --ssl-certfile, the certificate that the server shows"
        raise ValueError(message)
    return None


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = ssl.VerifyMode(settings.ssl_cert_reqs)
    if context.verify_mode is not ssl.CERT_NONE and settings.ssl_ca_certs is None:
        message = (
            f"--ssl-cert-reqs {settings.ssl_cert_reqs} asks clients for certificates, and --ssl-ca-certs does not say "
            f"whose: name a file with the certificates of those who sign them"
        )
        raise ValueError(message)
    _load(context, settings)
    if settings.ssl_ca_certs is not None:
        _readable("--ssl-ca-certs", settings.ssl_ca_certs)
        try:
            context.load_verify_locations(settings.ssl_ca_certs)
        except ssl.SSLError as error:
            message = f"--ssl-ca-certs {settings.ssl_ca_certs!r} holds no certificates in PEM: {_reason(error)}"
            raise ValueError(message) from error
    return context


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    certificate = settings.ssl_certfile or ""
    key = settings.ssl_keyfile or certificate
    _readable("--ssl-certfile", certificate)
    written = _readable("--ssl-keyfile", key)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password=lambda: settings.ssl_keyfile_password or "")
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(_fault(settings, certificate, key, written, error)) from error


def _fault(settings: Settings, certificate: str, key: str, written: bytes, error: Exception) -> str:
    """What is wrong with a certificate and its key."""
    reason = _reason(error)
    if "KEY_VALUES_MISMATCH" in reason:
        return f"the key in {key!r} does not belong to the certificate in {certificate!r}"
    if b"ENCRYPTED" in written:
        how = "does not open" if settings.ssl_keyfile_password else "is needed for"
        return f"--ssl-keyfile-password, or MILLPOND_SSL_KEYFILE_PASSWORD, {how} the key in {key!r}: {reason}"
    if b"PRIVATE KEY-----" not in written:
        return f"there is no private key in PEM in {key!r}: --ssl-keyfile names the file that holds it"
    return f"--ssl-certfile {certificate!r} and --ssl-keyfile {key!r} cannot be used: {reason}"


def _readable(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        message = f"{option} {path!r} cannot be read: {error.strerror or error}"
        raise ValueError(message) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)


def _times(settings: Settings) -> tuple[float, ...]:
    """When the files were written last; 0.0 for one that is not there just now."""
    found: list[float] = []
    for path in (settings.ssl_certfile, settings.ssl_keyfile):
        try:
            found.append(0.0 if path is None else Path(path).stat().st_mtime)
        except OSError:
            found.append(0.0)
    return tuple(found)
