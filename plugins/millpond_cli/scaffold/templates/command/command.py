"""millpond addon_name: counts the tokens of each line of a file."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def addon_name(
    file: Annotated[typer.FileText, typer.Argument(help="A file with one text per line; - for stdin.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="The folder of a model.")],
) -> None:
    """Print the number of tokens and the text of each line."""
    from tokenizers import Tokenizer  # imported here, so that --help stays fast

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    for line in file:
        text = line.rstrip("\n")
        typer.echo(f"{len(tokenizer.encode(text).ids)}\t{text}")
