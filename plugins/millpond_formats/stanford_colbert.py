"""Stanford's ColBERT: settings of queries and documents in artifact.metadata."""

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig
from millpond_formats.values import PUNCTUATION, QUERY_LENGTH, count_at, text_at

FILE = "artifact.metadata"


def read_stanford_colbert(repository: Repository) -> tuple[Layer, ...]:
    """Return the settings of queries and documents.

    Raises:
        CheckpointError: If the file is damaged, or specifies something that is not supported.
    """
    path = repository.path / FILE
    settings = read_object(path)
    late = LateInteraction(
        query=QueryDocumentConfig(marker=text_at(settings, "query_token_id", path) or "[unused0]"),
        document=QueryDocumentConfig(
            marker=text_at(settings, "doc_token_id", path) or "[unused1]",
            length=count_at(settings, "doc_maxlen", path),
            skipped=PUNCTUATION if settings.get("mask_punctuation", True) else (),
        ),
        expansion=Expansion(
            length=count_at(settings, "query_maxlen", path) or QUERY_LENGTH,
            attended=bool(settings.get("attend_to_mask_tokens")),
        ),
        dim=count_at(settings, "dim", path),
    )
    return (Layer(FILE, {"retrieval.late_interaction": late}),)
