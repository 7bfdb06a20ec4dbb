"""Embed six sentences with a real model and print their similarities: the program that ``make demo`` runs."""

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millpond import LLM

MODEL = "sentence-transformers/all-MiniLM-L6-v2"

SENTENCES = [
    "The cat is asleep on the windowsill.",
    "A kitten naps in a patch of sunlight.",
    "The central bank raised interest rates.",
    "Borrowing money has become dearer.",
    "Simmer tomatoes with garlic and basil.",
    "How do I make a good pasta sauce?",
]

NEXT_STEPS = """\
[bold]Next steps[/bold]
  {command} similarity "a cup of tea" "a mug of coffee" "a flat tyre"
  {command} embed "your own text"
  {command} inspect {model}
  {command} --help

In Python:
  from millpond import LLM
  llm = LLM("{model}")
  llm.embed("your own text")[0].outputs.embedding"""

SIMILAR, RELATED = 0.4, 0.2


def command() -> str:
    """Return the command that runs ``millpond`` from the current folder."""
    script = Path(sys.prefix, "bin", "millpond")
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else "millpond"


def highlight(similarity: float, *, same: bool) -> Text:
    """Return a similarity as text, coloured by its size; a sentence compared with itself is dimmed."""
    style = "bold green" if similarity >= SIMILAR else "yellow" if similarity >= RELATED else "dim"
    return Text(f"{similarity:.2f}", style="dim" if same else style)


def similarity_table(sentences: list[str], similarities: np.ndarray) -> Table:
    """Return a table of all pairs; similarities: [num_sentences, num_sentences]."""
    table = Table(box=None, collapse_padding=True, pad_edge=False)
    table.add_column("", justify="right", style="bold")
    table.add_column("sentence")
    for number, _ in enumerate(sentences, start=1):
        table.add_column(str(number), justify="right")
    for row, sentence in enumerate(sentences):
        cells = [highlight(value, same=row == column) for column, value in enumerate(similarities[row])]
        table.add_row(str(row + 1), sentence, *cells)
    return table


def closest_pairs(sentences: list[str], similarities: np.ndarray) -> str:
    """Return the pairs of each sentence and its nearest neighbour, by number."""
    others = similarities - 2 * np.eye(len(sentences))
    pairs = sorted({tuple(sorted((row + 1, int(others[row].argmax()) + 1))) for row in range(len(sentences))})
    return ", ".join(f"{first} and {second}" for first, second in pairs)


def main() -> None:
    """Embed the sentences, compare them and print the result."""
    console = Console(highlight=False, soft_wrap=True)
    with LLM(MODEL) as llm:
        embeddings = llm.embed(SENTENCES, output="array", use_tqdm=False)  # [num_sentences, hidden_size]
    similarities = embeddings @ embeddings.T  # vectors of length 1: the product is the cosine

    console.print(f"\n{len(SENTENCES)} sentences as vectors of {embeddings.shape[1]} numbers, by {MODEL}.")
    console.print("Cosine similarity of each pair: 1 for the same meaning, about 0 for unrelated texts.\n")
    console.print(similarity_table(SENTENCES, similarities))
    console.print(f"\nMost similar: {closest_pairs(SENTENCES, similarities)}.\n")
    console.print(NEXT_STEPS.format(command=command(), model=MODEL))


if __name__ == "__main__":
    main()
