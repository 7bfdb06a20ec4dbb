"""Stanford's ColBERT: artifact.metadata, which says how queries and documents are read."""

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import CheckpointFacts, RetrievalFacts, stated
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig
from millpond_formats.values import PUNCTUATION, QUERY_LENGTH, count_at, text_at

FILE = "artifact.metadata"


def read_stanford_colbert(repository: Repository) -> CheckpointFacts:
    """How queries and documents are read.

    Raises:
        CheckpointError: If the file is damaged, or states what is not supported.
    """
    path = repository.path / FILE
    said = read_object(path)
    late = LateInteraction(
        query=QueryDocumentConfig(marker=text_at(said, "query_token_id", path) or "[unused0]"),
        document=QueryDocumentConfig(
            marker=text_at(said, "doc_token_id", path) or "[unused1]",
            length=count_at(said, "doc_maxlen", path),
            skipped=PUNCTUATION if said.get("mask_punctuation", True) else (),
        ),
        expansion=Expansion(
            length=count_at(said, "query_maxlen", path) or QUERY_LENGTH,
            attended=bool(said.get("attend_to_mask_tokens")),
        ),
        dim=count_at(said, "dim", path),
    )
    return CheckpointFacts(retrieval=RetrievalFacts(late_interaction=stated(late, FILE)))
