"""Embeds a handful of sentences with a real model and shows which of them are alike. Run by ``make demo``."""

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

NEXT = """\
[bold]What to try next[/bold]
  {command} similarity "a cup of tea" "a mug of coffee" "a flat tyre"
  {command} embed "a text of your own"
  {command} inspect {model}
  {command} --help

The same from Python:
  from millpond import LLM
  llm = LLM(model="{model}")
  llm.embed("a text of your own")[0].outputs.embedding"""

ALIKE, RELATED = 0.4, 0.2


def command() -> str:
    """How to call ``millpond`` from the folder that this runs in."""
    script = Path(sys.prefix, "bin", "millpond")
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else "millpond"


def shade(similarity: float, *, same: bool) -> Text:
    """A similarity as text: the more alike, the louder; a sentence and itself are no news."""
    loud = "bold green" if similarity >= ALIKE else "yellow" if similarity >= RELATED else "dim"
    return Text(f"{similarity:.2f}", style="dim" if same else loud)


def similarity_table(sentences: list[str], similarities: np.ndarray) -> Table:
    """A row and a column for each sentence; rows carry the text, columns its number."""
    table = Table(box=None, collapse_padding=True, pad_edge=False)
    table.add_column("", justify="right", style="bold")
    table.add_column("sentence")
    for number, _ in enumerate(sentences, start=1):
        table.add_column(str(number), justify="right")
    for row, sentence in enumerate(sentences):
        cells = [shade(value, same=row == column) for column, value in enumerate(similarities[row])]
        table.add_row(str(row + 1), sentence, *cells)
    return table


def closest(sentences: list[str], similarities: np.ndarray) -> str:
    """For each sentence, the number of the one most like it."""
    others = similarities - 2 * np.eye(len(sentences))
    pairs = sorted({tuple(sorted((row + 1, int(others[row].argmax()) + 1))) for row in range(len(sentences))})
    return ", ".join(f"{one} and {other}" for one, other in pairs)


def main() -> None:
    """Embed, compare, print."""
    console = Console(highlight=False, soft_wrap=True)
    with LLM(model=MODEL) as llm:
        outputs = llm.embed(SENTENCES, use_tqdm=False)
    embeddings = np.array([output.outputs.embedding for output in outputs])  # [num_sentences, hidden_size]
    similarities = embeddings @ embeddings.T  # of unit length: the product is the cosine

    console.print(f"\n{len(SENTENCES)} sentences, each now {embeddings.shape[1]} numbers, by {MODEL}.")
    console.print("Their cosine similarities: 1 is the same meaning, 0 is nothing in common.\n")
    console.print(similarity_table(SENTENCES, similarities))
    console.print(f"\nMost alike: {closest(SENTENCES, similarities)}.\n")
    console.print(NEXT.format(command=command(), model=MODEL))


if __name__ == "__main__":
    main()
