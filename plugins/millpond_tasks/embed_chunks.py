"""Options of the task ``embed_chunks``: one vector a chunk of a text."""

from millpond_tasks.options import SidedOptions


class ChunksOptions(SidedOptions):
    """Options of ``embed_chunks``; spans and sizes of chunks come with the texts of the call."""
