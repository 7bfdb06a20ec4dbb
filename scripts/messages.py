"""Print a table of all error messages, collected from the `raise` statements: python scripts/messages.py [PATH ...]."""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ["core", "plugins", "builtin_models", "builtin_poolers", "io_processors", "kernels"]


def message_of(call: ast.Call, assigned: dict[str, ast.expr]) -> str:
    """Return the text of the exception's arguments, with `{expression}` for values that are inserted.

    Args:
        call: The exception.
        assigned: The expressions of local names, which replace the names.
    """
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    values = [assigned.get(it.id, it) if isinstance(it, ast.Name) else it for it in arguments]
    return " ".join(ast.unparse(value).removeprefix("f").strip("'\"") for value in values)


def assignments(tree: ast.AST) -> Iterator[tuple[int, str, ast.expr]]:
    """Yield the line, the name and the expression of each assignment to a single name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.lineno, node.targets[0].id, node.value


def rows_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the location, the exception's class and the message of each `raise` statement of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            assigned = {name: value for line, name, value in sorted(assignments(tree), key=_line) if line < node.lineno}
            yield f"{path}:{node.lineno}", ast.unparse(node.exc.func), message_of(node.exc, assigned)


def _line(assignment: tuple[int, str, ast.expr]) -> int:
    return assignment[0]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", default=FOLDERS, metavar="PATH", help="folders (default: all sources)")
    print("| location | class | message |\n|---|---|---|")
    for folder in parser.parse_args().folders:
        for path in sorted(Path(folder).rglob("*.py")):
            for location, name, message in rows_of(path):
                print(f"| {location} | {name} | {' '.join(message.split()).replace('|', '/')} |")


if __name__ == "__main__":
    main()
