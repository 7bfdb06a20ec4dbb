"""The static files of the playground, with their types and ETags."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
ETAG_DIGITS = 32


@dataclass(frozen=True)
class StaticFile:
    """A file in memory.

    Attributes:
        content: Its bytes.
        media_type: Its type, for the header Content-Type.
        etag: A hash of its content, for the header ETag.
    """

    content: bytes
    media_type: str
    etag: str

    def matches(self, if_none_match: str) -> bool:
        """Return True if the header If-None-Match contains the file's ETag, also as a weak one (RFC 9110, 13.1.2)."""
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return "*" in tags or self.etag in tags


def read_files() -> dict[str, StaticFile]:
    """Return all files by their paths in the folder ``static``, such as ``panels/search.js``."""
    return dict(_read(files("millpond_playground").joinpath("static")))


def _read(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, StaticFile]]:
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif (media_type := MEDIA_TYPES.get(name[name.rfind(".") :])) is not None:
            content = entry.read_bytes()
            yield name, StaticFile(content, media_type, f'"{sha256(content).hexdigest()[:ETAG_DIGITS]}"')
