"""The IO processor of the task addon_name."""

from dataclasses import dataclass

import numpy as np
from addon_package.task import AddonName, AddonNameOptions
from millpond import EmbeddingOutput, IOProcessor
from millpond.context import TaskContext
from millpond.pipeline.io_processor import Asked, Call, Item, Work
from millpond.types.errors import InvalidInputError


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class AddonNameWork(Work):
    """The sequences of one text.

    Attributes:
        text: The work of the task embed.
        options: The options of the call.
    """

    text: Work
    options: AddonNameOptions


class AddonNameProcessor(IOProcessor[AddonName]):
    """Maps a text to the signs of the first dimensions of its vector."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.embed: IOProcessor[EmbeddingOutput] = ctx.io_processor("io_processors/embed", task="embed")

    def encode(self, call: Call) -> list[Work]:
        """Return the work for each item of a call."""
        return [self._work(item.data, item.asked) for item in call.items]

    def decode(self, work: Work) -> AddonName:
        """Return the bits of a text."""
        assert isinstance(work, AddonNameWork)
        vector = self.embed.decode(work.text).array
        return AddonName(np.packbits(vector[: work.options.bits] > 0).tobytes().hex())

    def _work(self, data: object, asked: Asked) -> Work:
        options = asked.options
        size = self.ctx.model.embedding_size
        if size is not None and options.bits > size:
            message = f"bits: {options.bits} requested, and the vectors of this model have {size} dimensions"
            return Work(error=InvalidInputError(message, parameter="bits"))
        (text,) = self.embed.encode(Call([Item(data, self.embed.complete(Asked(asked.params)))]))
        if text.error is not None:
            return text
        return AddonNameWork(sequences=text.sequences, text=text, options=options)
