"""Images as documents of ColPali and its kind: each alone, with what its processor writes around it."""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond.context import Context
from millpond.pipeline.image_reader import TextWithImages
from millpond.types.config import CheckpointConfig
from millpond_transformers.images import INPUTS, OF_TEXT, ProcessorImages
from millpond_transformers.quiet import quiet

if TYPE_CHECKING:
    from PIL.Image import Image

LABELS = "labels"  # for training


class RetrievalImages(ProcessorImages):
    """Reads an image as a document, by the processor of its class in transformers."""

    alone = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        parameters = signature(self.body_class.forward).parameters.values()
        self.hands_on = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """The tokens and features of one image; the text is the processor's."""
        del text, add_special_tokens
        self.check_shapes(images)
        with quiet():
            made = self.processor.process_images(images=list(images), **self.asked(options))
        inputs = {name: np.asarray(value) for name, value in made.items() if self._is_taken(name)}
        return TextWithImages(input_ids=np.asarray(made["input_ids"][0], dtype=np.int64), features={INPUTS: inputs})

    def _is_taken(self, name: str) -> bool:
        return name not in (*OF_TEXT, LABELS) and (self.hands_on or name in self.takes)

    def part(self) -> Mapping[str, Any]:
        """What config.json says of what reads texts and images."""
        inner = self.ctx.config.get("vlm_config")
        return inner if isinstance(inner, CheckpointConfig) else self.ctx.config
