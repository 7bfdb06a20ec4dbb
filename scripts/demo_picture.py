"""Draw docs/images/demo.svg, the terminal picture of `make demo` in the README: python scripts/demo_picture.py.

Runs examples/demo.py and records its output.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO = REPOSITORY / "examples" / "demo.py"
PICTURE = REPOSITORY / "docs" / "images" / "demo.svg"
COLUMNS = 92
TITLE = "Millpond"

# The picture has a dark background, so it is readable on light and dark pages.
THEME = TerminalTheme(
    background=(13, 17, 23),
    foreground=(230, 237, 243),
    normal=[
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)

# rich refers to a web font. Pages that embed the picture do not load it: the reader's monospace font is used.
WEB_FONT = re.compile(r"@font-face \{[^}]*\}\s*")


def demo_output() -> str:
    """Run the demo as on a terminal with colours and return what it prints."""
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, str(DEMO)]
    completed = subprocess.run(  # noqa: S603  this interpreter and a file of this repository
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return completed.stdout


def terminal_picture(output: str) -> str:
    """Return the SVG of a terminal that shows `make demo` and its output; output: text with ANSI codes."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ make demo", style="bold"))
    console.print(Text.from_ansi(output.rstrip()))
    return WEB_FONT.sub("", console.export_svg(title=TITLE, theme=THEME, unique_id="demo"))


def main() -> None:
    """Write the picture."""
    picture = terminal_picture(demo_output())
    PICTURE.write_text(picture + "\n", encoding="utf-8")
    print(f"{PICTURE.relative_to(REPOSITORY)}: {len(picture.encode()):,} bytes")


if __name__ == "__main__":
    main()
