"""Options of the task ``embed_chunks``: one vector per chunk of a text."""

from millpond_tasks.options import QueryDocumentOptions


class ChunksOptions(QueryDocumentOptions):
    """Options of ``embed_chunks``; the chunking arguments are part of the call's prompts."""
