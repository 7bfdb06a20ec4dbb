"""The IO processor of the task ``score``: queries and documents to scores, by what the model can do."""


from millpond.inputs import TextOfPair
from millpond.io_processor import IOProcessor
from millpond.outputs import ArrayOutput


class ScoreProcessor(IOProcessor[TextOfPair, ArrayOutput]):
    """Queries and documents to scores."""
