"""Build the documentation site in build/docs/html: `make docs`, or python scripts/docs_site/build_site.py.

The pages of docs/ are staged with links between their places, and a page per public module is added. Every warning of
Sphinx is an error, such as a broken link or a page without a place in the navigation.
"""

import argparse
import shutil
from pathlib import Path

from api_pages import write_api_pages
from pages import CONTENTS, REPOSITORY, Group, navigation, stage, toctree
from sphinx.cmd.build import build_main

FOLDER = Path(__file__).resolve().parent
OUTPUT = REPOSITORY / "build" / "docs"


def site_groups() -> list[Group]:
    """Return the navigation: the groups of docs/index.md, with the other pages of the site added."""
    groups = navigation((REPOSITORY / CONTENTS).read_text(encoding="utf-8"))
    for group in groups:
        if group.caption == "Reference":
            group.pages.append("api/index")
    return [
        Group("Overview", ["contents", "gallery"]),
        *groups,
        Group("Project", [f"project/{page}" for page in ("contributing", "changelog", "releasing", "security")]),
    ]


def write_sources(folder: Path) -> None:
    """Write everything that Sphinx reads into a new folder."""
    stage(folder)
    write_api_pages(folder / "api")
    trees = [toctree(group.caption, group.pages) for group in site_groups()]
    with (folder / "index.md").open("a", encoding="utf-8") as home:
        home.write("".join(trees))


def main() -> int:
    """Stage the pages, run Sphinx, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the site is written into html/ of this folder")
    output = parser.parse_args().output
    sources, html, doctrees = output / "source", output / "html", output / "doctrees"
    for folder in (sources, html, doctrees):
        shutil.rmtree(folder, ignore_errors=True)
    write_sources(sources)
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    code: int = build_main(["-b", "html", "-c", str(FOLDER), "-d", str(doctrees), *strict, str(sources), str(html)])
    if code == 0:
        print(f"The site is in {html}: open {html / 'index.html'}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
