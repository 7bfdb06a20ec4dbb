"""Print a table of all error messages, collected from the `raise` statements: python scripts/messages.py [PATH ...]."""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ["core", "plugins", "builtin_models", "builtin_poolers", "io_processors", "kernels"]


def message_of(call: ast.Call) -> str:
    """Return the text of the exception's arguments, with `{expression}` for values that are inserted."""
    texts = [ast.unparse(argument) for argument in [*call.args, *(keyword.value for keyword in call.keywords)]]
    return " ".join(text.removeprefix("f").strip("'\"") for text in texts)


def rows_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the location, the exception's class and the message of each `raise` statement of a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield f"{path}:{node.lineno}", ast.unparse(node.exc.func), message_of(node.exc)


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
