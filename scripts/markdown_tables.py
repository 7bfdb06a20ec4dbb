"""Tables in Markdown."""

from collections.abc import Iterable, Iterator


def row(*cells: str) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield row(*header)
    yield f"|{'---|' * len(header)}"
    yield from (row(*cells) for cells in rows)


def escaped(text: str) -> str:
    """Return a text for a cell of a table."""
    return text.replace("|", r"\|")


def sentence(text: str) -> str:
    """Return a summary as a sentence for a cell of a table."""
    return escaped(f"{text[:1].upper()}{text[1:].removesuffix('.')}.")
