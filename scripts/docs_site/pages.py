"""Stages the Markdown pages of the repository for Sphinx: their places, links and navigation.

Pages are written for GitHub, so all links are paths in the repository. The README becomes the home page.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

REPOSITORY = Path(__file__).resolve().parents[2]
HOME, CONTENTS = "README.md", "docs/index.md"
# Pages with other places than their path in docs/.
PLACES = {
    HOME: "index.md",
    CONTENTS: "contents.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "RELEASING.md": "project/releasing.md",
    "SECURITY.md": "project/security.md",
}
PICTURES = (".png", ".svg", ".jpg", ".webp")
CODE = re.compile(r"(^ *(`{3,}|~{3,}).*?^ *\2 *$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
HEADING = re.compile(r"^(?P<level>#{2,3}) (?P<title>.+)$")
GROUP = re.compile(r"^(?P<title>\w[\w ]+):$")  # a line that introduces a list of pages
ENTRY = re.compile(r"^(?:- |\| )\[[^\]]+\]\((?P<path>[^)#]+\.md)\)")


class BrokenLinksError(Exception):
    """Links of pages whose targets do not exist; each argument is a page and a target."""


def places() -> dict[str, str]:
    """Return the place of each page in the staged folder, by its path in the repository."""
    pages = sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md"))
    return {page: page.removeprefix("docs/") for page in pages} | PLACES


def stage(folder: Path) -> None:
    """Write all pages and pictures into a folder, with links between their places there.

    Raises:
        BrokenLinksError: A link names a file that does not exist.
    """
    broken: list[str] = []
    for page, site_path in places().items():
        text, missing = relink(page, (REPOSITORY / page).read_text(encoding="utf-8"))
        broken += [f"{page}: {target}" for target in missing]
        file = folder / site_path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    if broken:
        raise BrokenLinksError(*broken)
    shutil.copytree(REPOSITORY / "docs" / "images", folder / "images")


def relink(page: str, text: str) -> tuple[str, list[str]]:
    """Return a page with links to places in the staged folder, and the targets that do not exist.

    A link to a file that is not a page of the site is replaced by its text.

    Args:
        page: The path of the page in the repository.
        text: Its Markdown.
    """
    known, missing = places(), []
    here = str(PurePosixPath(known.get(page, page)).parent)

    def replaced(link: re.Match[str]) -> str:
        target = normpath(str(PurePosixPath(page).parent / link["path"]))
        if target in known:
            site_path = known[target]
        elif target.startswith("docs/") and target.endswith(PICTURES) and (REPOSITORY / target).is_file():
            site_path = target.removeprefix("docs/")
        else:
            if not (REPOSITORY / target).exists():
                missing.append(link["path"])
            return link["text"]
        return f"{link['image']}[{link['text']}]({relpath(site_path, here)}{link['anchor'] or ''})"

    parts = CODE.split(text)  # text, block, fence, text, ...
    parts[::3] = [LINK.sub(replaced, part) for part in parts[::3]]
    del parts[2::3]
    return "".join(parts), missing


@dataclass
class Group:
    """Pages under one caption of the navigation."""

    caption: str
    pages: list[str] = field(default_factory=list)


def navigation(contents: str) -> list[Group]:
    """Return the groups of pages that docs/index.md lists, in its order; groups without pages are omitted.

    Args:
        contents: The Markdown of docs/index.md.
    """
    groups = [Group("")]
    section = ""
    for line in contents.splitlines():
        if heading := HEADING.match(line):
            section = heading["title"]
            groups.append(Group(section))
        elif introduction := GROUP.match(line):
            groups.append(Group(f"{section}: {introduction['title'].lower()}"))
        elif entry := ENTRY.match(line):
            groups[-1].pages.append(entry["path"].removesuffix(".md"))
    seen: set[str] = set()
    for group in groups:
        group.pages = [page for page in _new(group.pages, seen) if not page.startswith("..")]
    return [group for group in groups if group.pages]


def _new(pages: list[str], seen: set[str]) -> Iterator[str]:
    for page in pages:
        if page not in seen:
            seen.add(page)
            yield page


def toctree(caption: str, pages: list[str]) -> str:
    """Return the directive of a group in the navigation, which is not displayed on its page."""
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])
