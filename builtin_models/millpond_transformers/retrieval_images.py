"""Image reader of ColPali and similar models: each image is a document, with the prompt of the processor."""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond_modeling.images import TextWithImages
from millpond_transformers.images import INPUTS, TEXT_ARGUMENTS, ProcessorImages
from millpond_transformers.quiet import quiet

if TYPE_CHECKING:
    from PIL.Image import Image

TRAINING_LABELS = "labels"


class RetrievalImages(ProcessorImages):
    """Reads an image as a document by a processor of transformers."""

    alone = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        parameters = signature(self.body_class.forward).parameters.values()
        self.has_kwargs = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """Return the tokens and features of one image, with the text of the processor."""
        del text, add_special_tokens
        self.check_shapes(images)
        with quiet():
            processed = self.processor.process_images(images=list(images), **self.processor_arguments(options))
        inputs = {name: np.asarray(value) for name, value in processed.items() if self._is_argument(name)}
        return TextWithImages(
            input_ids=np.asarray(processed["input_ids"][0], dtype=np.int64), features={INPUTS: inputs}
        )

    def _is_argument(self, name: str) -> bool:
        return name not in (*TEXT_ARGUMENTS, TRAINING_LABELS) and (self.has_kwargs or name in self.arguments)

    def image_config(self) -> Mapping[str, Any]:
        """Return the config of the vision-language model."""
        vlm_config = self.ctx.config.get("vlm_config")
        return vlm_config if isinstance(vlm_config, CheckpointConfig) else self.ctx.config
