"""What a model card (README.md) names the model: a folder may have been renamed, and its card was not."""

import re
from pathlib import Path

MOST_BYTES = 1_000_000  # of a card that is read
RANKS = re.compile(r"^(?:pipeline_tag:|\s*-)\s*['\"]?(?:text-ranking|reranker)['\"]?\s*$", re.MULTILINE)
TITLE = re.compile(r"^#\s+(?:<[^>]*>\s*)*(?P<title>[^#\n]+?)\s*$", re.MULTILINE)
FENCE = "---"


def titles_of_ranker(folder: Path) -> set[str]:
    """The titles of the card of a model that ranks texts, in lower case, without organisations; empty for any other.

    Args:
        folder: The folder of the model.
    """
    path = folder / "README.md"
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return set()
    text = path.read_text(encoding="utf-8", errors="replace")
    _, _, rest = text.partition(FENCE) if text.startswith(FENCE) else ("", "", "")
    header, fence, body = rest.partition(f"\n{FENCE}")
    if not fence or not RANKS.search(header):
        return set()
    return {match["title"].rpartition("/")[2].strip().lower() for match in TITLE.finditer(body)}
