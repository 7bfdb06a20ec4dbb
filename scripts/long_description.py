"""Build hook: the long description of the package is the README, without links that work only in the repository."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#|mailto:)(?P<path>[^)\s]+)\)")


class LongDescription(MetadataHookInterface):
    """Sets the field ``readme`` of the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README, with links to the files of this version at the URL `Source`, if pyproject.toml names one."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source", "")
        folder = f"{source.rstrip('/')}/blob/v{metadata['version']}" if source else ""
        metadata["readme"] = {"content-type": "text/markdown", "text": long_description(readme, folder)}


def long_description(readme: str, folder: str = "") -> str:
    """Return the README without comments and relative links.

    Args:
        readme: The text, in Markdown.
        folder: The URL to which relative links are resolved, and images with ``?raw=true``. If it is empty, a link is
            replaced by its text, and an image is removed.
    """
    parts = CODE.split(COMMENT.sub("", readme))  # every second part is a block of code
    return "".join(
        part if number % 2 else LINK.sub(lambda it: _absolute(it, folder), part) for number, part in enumerate(parts)
    )


def _absolute(link: re.Match[str], folder: str) -> str:
    if folder:
        return f"{link['image']}[{link['text']}]({folder}/{link['path']}{'?raw=true' if link['image'] else ''})"
    return "" if link["image"] else link["text"]
