"""Draw docs/images/layers.svg, the layers of the packages with their imports: python scripts/layers.py [--check].

The rows are the ``layers`` contracts of pyproject.toml, which `make check` enforces; imports are read from the sources.
``--check`` writes nothing and fails if the picture is not up to date.
"""

import argparse
import ast
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).resolve().parents[1]
PICTURE = REPOSITORY / "docs" / "images" / "layers.svg"
CORE = "millpond"
WIDTH, MARGIN, GAP = 980, 24, 14  # pixels
HEADING_HEIGHT, BOX_HEIGHT, ROW_HEIGHT = 34, 84, 50  # pixels
COLUMNS = 4
SUMMARY_INDENT = 200  # pixels from the margin, after the names of a layer of the core
SUMMARY_LINE_CHARS = 29  # characters that fit in a line of a box
STYLE = """\
    text { font-family: -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .title { font-size: 15px; font-weight: 600; }
    .soft { font-size: 12px; fill: #57606a; }
    .name { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: 13px; font-weight: 600; }
    .mono { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: 12px; fill: #57606a; }
    .layer { fill: #f6f8fa; stroke: #d0d7de; }
    .box { fill: #ffffff; stroke: #8c959f; stroke-width: 1.2; }
    .yours { fill: none; stroke: #8c959f; stroke-width: 1.2; stroke-dasharray: 5 4; }
    .arrow { stroke: #57606a; stroke-width: 1.6; fill: none; marker-end: url(#head); }"""


@dataclass(frozen=True)
class Part:
    """A package or module of a layer.

    Attributes:
        name: The name; in the core, without ``millpond.``.
        summary: The first sentence of its docstring.
        imports: The names of the imported parts and packages.
    """

    name: str
    summary: str
    imports: tuple[str, ...]


def contracts() -> tuple[list[list[str]], list[list[str]]]:
    """Return the layers of the packages and those of the core, from the highest to the lowest."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    layers = [it for it in settings["tool"]["importlinter"]["contracts"] if it["type"] == "layers"]
    packages = next(it["layers"] for it in layers if "containers" not in it)
    core = next(it["layers"] for it in layers if it.get("containers") == [CORE])
    return [_siblings(layer) for layer in packages], [_siblings(layer) for layer in core]


def _siblings(layer: str) -> list[str]:
    return layer.replace("|", " ").replace(":", " ").split()


def read() -> tuple[list[list[Part]], list[list[Part]]]:
    """Return the parts of each layer of the packages, and of each layer of the core."""
    packages, core = contracts()
    names = [name for layer in packages for name in layer]
    graph = grimp.build_graph(*names, cache_dir=None)
    modules = [f"{CORE}.{name}" for layer in core for name in layer]
    return (
        [[_part(graph, name, name, names) for name in layer] for layer in packages],
        [[_part(graph, f"{CORE}.{name}", name, modules) for name in layer] for layer in core],
    )


def _part(graph: grimp.ImportGraph, module: str, name: str, others: Sequence[str]) -> Part:
    """Return a part with its direct imports of others, in the order of the layers."""
    modules = {module, *graph.find_descendants(module)}
    imported = {target for it in modules for target in graph.find_modules_directly_imported_by(it)} - modules
    imports = [other for other in others if other != module and any(_is_in(it, other) for it in imported)]
    return Part(name, summary_of(module), tuple(other.removeprefix(f"{CORE}.") for other in imports))


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def summary_of(module: str) -> str:
    """Return the first sentence of a module's docstring, without a leading name."""
    relative = Path(*module.split("."))
    roots = [path for path in REPOSITORY.iterdir() if path.is_dir() and (path / relative.parts[0]).is_dir()]
    files = [root / form for root in roots for form in (relative.with_suffix(".py"), relative / "__init__.py")]
    source = next(path for path in files if path.is_file()).read_text(encoding="utf-8")
    docstring = (ast.get_docstring(ast.parse(source)) or "").split("\n\n", maxsplit=1)[0]
    first = " ".join(docstring.replace("``", "").split()).partition(". ")[0].rstrip(".")
    before, colon, after = first.partition(": ")
    summary = after if colon and " " not in before else first
    return summary[:1].upper() + summary[1:]


def draw(packages: Sequence[Sequence[Part]], core: Sequence[Sequence[Part]]) -> str:
    """Return the picture as SVG."""
    body: list[str] = []
    top = MARGIN
    for layer in packages[:-1]:
        title = "plugins: built-in ones and yours" if layer is packages[0] else "kits: code shared by plugins"
        boxes = [*layer, None] if layer is packages[0] else list(layer)
        rows = -(-len(boxes) // COLUMNS)
        height = HEADING_HEIGHT + rows * (BOX_HEIGHT + GAP)
        body += _background(top, height, title)
        for number, part in enumerate(boxes):
            body += _box(part, number, top + HEADING_HEIGHT)
        body.append(_arrow(top + height))
        top += height + 2 * GAP
    height = HEADING_HEIGHT + len(core) * ROW_HEIGHT + GAP
    body += _background(top, height, "core: imports none of the above")
    for number, row in enumerate(core):
        body += _row(row, top + HEADING_HEIGHT + number * ROW_HEIGHT)
    total = top + height + MARGIN
    summary = "Plugins import kits and the core, kits import the core. The layers of the core, from the top: "
    description = summary + ", ".join(" and ".join(part.name for part in layer) for layer in core)
    return "\n".join([*_head(total, description), *body, "</svg>", ""])


def _head(height: int, description: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="t d">'
    )
    yield '  <title id="t">The layers of Millpond</title>'
    yield f'  <desc id="d">{escape(description)}.</desc>'
    yield f"  <style>\n{STYLE}\n  </style>"
    yield "  <defs>"
    yield '    <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    yield '      <path d="M0 0 L8 4 L0 8 z" fill="#57606a"/></marker>'
    yield "  </defs>"
    yield f'  <rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>'  # the page may be dark


def _background(top: int, height: int, title: str) -> Iterator[str]:
    yield f'  <rect class="layer" x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="10"/>'
    yield f'  <text class="title" x="{MARGIN + GAP}" y="{top + 23}">{escape(title)}</text>'


def _box(part: Part | None, number: int, top: int) -> Iterator[str]:
    """Draw a package; None for the reader's own plugin."""
    width = (WIDTH - 2 * MARGIN - (COLUMNS + 1) * GAP) // COLUMNS
    x = MARGIN + GAP + number % COLUMNS * (width + GAP)
    y = top + number // COLUMNS * (BOX_HEIGHT + GAP)
    name, kind = ("your_plugin", "yours") if part is None else (part.name, "box")
    summary = "found by its entry point, loaded like a built-in one" if part is None else part.summary
    yield f'  <rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BOX_HEIGHT}" rx="8"/>'
    yield f'  <text class="name" x="{x + 12}" y="{y + 24}">{escape(name)}</text>'
    for line, text in enumerate(textwrap.wrap(summary, SUMMARY_LINE_CHARS, max_lines=3, placeholder=" …")):
        yield f'  <text class="soft" x="{x + 12}" y="{y + 42 + 15 * line}">{escape(text)}</text>'


def _row(parts: Sequence[Part], top: int) -> Iterator[str]:
    """Draw a layer of the core: its modules, their summary, and their imports of lower layers."""
    names = [part.name for part in parts]
    imports = dict.fromkeys(name for part in parts for name in part.imports if name not in names)
    caption = f"imports {', '.join(imports)}" if imports else "imports none of these"
    width, height = WIDTH - 2 * (MARGIN + GAP), ROW_HEIGHT - 8
    yield f'  <rect class="box" x="{MARGIN + GAP}" y="{top}" width="{width}" height="{height}" rx="8"/>'
    yield f'  <text class="name" x="{MARGIN + GAP + 12}" y="{top + 26}">{escape(", ".join(names))}</text>'
    summary = textwrap.shorten(parts[0].summary, 110, placeholder=" …")
    yield f'  <text class="soft" x="{MARGIN + SUMMARY_INDENT}" y="{top + 18}">{escape(summary)}</text>'
    yield f'  <text class="mono" x="{MARGIN + SUMMARY_INDENT}" y="{top + 35}">{escape(caption)}</text>'


def _arrow(bottom: int) -> str:
    return f'  <path class="arrow" d="M{WIDTH // 2} {bottom} L{WIDTH // 2} {bottom + 2 * GAP - 2}"/>'


def main() -> int:
    """Write the picture, or check that it is up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the picture is not up to date")
    is_check = parser.parse_args().check
    picture = draw(*read())
    if is_check:
        if PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == picture:
            return 0
        print(f"{PICTURE.relative_to(REPOSITORY)} is out of date: run `python scripts/layers.py`", file=sys.stderr)
        return 1
    PICTURE.write_text(picture, encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
