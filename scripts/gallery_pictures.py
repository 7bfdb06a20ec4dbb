"""Draw docs/images/gallery/: python scripts/gallery_pictures.py runs the blocks of docs/gallery.md, which save them."""

import os
import re
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "gallery.md"
FOLDER = REPOSITORY / "docs" / "images" / "gallery"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAVED = re.compile(r'savefig\("([\w.]+)"')
SHOWN = re.compile(r"\]\(images/gallery/([\w.]+)\)")


def program(markdown: str) -> str:
    """Return the Python blocks of a page as one program."""
    return "\n".join(BLOCK.findall(markdown))


def draw(markdown: str, folder: Path) -> None:
    """Run the Python blocks of a page in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(program(markdown), str(PAGE), "exec"), {"__name__": "gallery"})  # noqa: S102  a page of this repository
    finally:
        os.chdir(before)


def main() -> None:
    """Draw all pictures and replace those in the repository."""
    with tempfile.TemporaryDirectory() as scratch:
        draw(PAGE.read_text(encoding="utf-8"), Path(scratch))
        FOLDER.mkdir(exist_ok=True)
        for picture in FOLDER.iterdir():
            picture.unlink()
        for picture in Path(scratch).glob("*.png"):
            FOLDER.joinpath(picture.name).write_bytes(picture.read_bytes())


if __name__ == "__main__":
    main()
