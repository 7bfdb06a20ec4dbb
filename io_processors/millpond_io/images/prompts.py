"""Prompts for models with separate encoders for texts and images, such as CLIP: a text, an image, or both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from millpond_io.images.files import PARAMETER
from millpond_io.images.inputs import ImageInputs
from millpond_io.images.patches import Patcher, Patches
from millpond_io.images.settings import read_settings
from millpond_io.prompts import Conversation
from millpond_io.text.processor import TextProcessor
from millpond_modeling.images import PARAMETER as OPTIONS
from millpond_text.prompt import Prompt, TextJob

GROUP = "image"  # texts and images are in separate batches, because they have separate encoders
MIXED_MODALITY = "mixed_modality"
MIXED_MODALITY_VALUES = ("error", "mean")
NAMES: Mapping[str, str] = {"CLIPModel": "CLIP", "SiglipModel": "SigLIP", "Siglip2Model": "SigLIP"}


class ImagePrompts:
    """Reads and encodes the prompts of a model that embeds a text or an image."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.images = ImageInputs(ctx, max_images=min(1, ctx.inputs.limit_mm_per_prompt.get("image", 1)))
        self.name = NAMES.get(ctx.model.architecture, ctx.model.architecture)
        self.mixed_modality = ctx.inputs.mixed_modality

    @cached_property
    def patcher(self) -> Patcher:
        """The conversion to patches. The settings of the checkpoint are read for the first image."""
        return Patcher(read_settings(self.ctx))

    def read(self, processor: TextProcessor, prompt: Prompt | Conversation) -> Prompt:
        """Validate a prompt, and convert its image to patches.

        Raises:
            InvalidInputError: If the prompt is invalid.
        """
        if isinstance(prompt, Conversation):
            prompt = processor.conversations.render(prompt)
        if prompt.multi_modal_data is None:
            return processor.prompt_tokenizer.check(prompt)
        without_image = replace(prompt, multi_modal_data=None)
        if without_image.text or without_image.token_ids:
            processor.prompt_tokenizer.check(without_image)
        if prompt.image_options is not None and prompt.image_options.values:
            message = f"{OPTIONS}: {self.name} does not support it; the checkpoint specifies the size of images"
            raise InvalidInputError(message, parameter=OPTIONS)
        (image,) = self.images.values_of(prompt.multi_modal_data)
        return replace(prompt, multi_modal_data={"image": self.images.read(image, self.patcher)})

    def jobs(
        self,
        prompts: Sequence[Prompt],
        call: Call,
        encode_texts: Callable[[Sequence[Prompt], Call], list[Job]],
        task: str,
    ) -> list[Job]:
        """Return the jobs of validated prompts.

        Args:
            prompts: The prompts.
            call: Their call.
            encode_texts: Returns the jobs of text prompts.
            task: The name of the task.
        """
        texts = [replace(prompt, multi_modal_data=None) for prompt in prompts if _has_text(prompt)]
        text_jobs = iter(encode_texts(texts, call) if texts else ())
        return [self._job(prompt, call, next(text_jobs) if _has_text(prompt) else None, task) for prompt in prompts]

    def _job(self, prompt: Prompt, call: Call, text: Job | None, task: str) -> Job:
        patches = (prompt.multi_modal_data or {}).get("image")
        if text is not None and (text.error is not None or not isinstance(patches, Patches)):
            return text
        assert isinstance(patches, Patches)  # noqa: S101  a prompt without text has an image
        error = None if text is None else self._mixed_modality_error(call, task)
        if error is not None:
            return Job(error=error)
        image = request_of(patches, [Representation(task, call.params)])
        sequences = () if text is None else text.sequences
        if sequences:
            whole = sequences[0].input_ids if sequences[0].whole is None else sequences[0].whole
            sequences[0].whole = np.concatenate([whole, image.input_ids])
        return TextJob(sequences=(*sequences, image), call=call)

    def _mixed_modality_error(self, call: Call, task: str) -> InvalidInputError | None:
        """Return the error for a prompt with both a text and an image; None if both are accepted."""
        value = getattr(call.options, MIXED_MODALITY, None) or self.mixed_modality
        if value not in MIXED_MODALITY_VALUES:
            message = f"{MIXED_MODALITY}={value!r}: expected 'error' or 'mean'"
            return InvalidInputError(message, parameter=MIXED_MODALITY)
        if value == "mean" and task == "embed":
            return None
        hint = (
            "mixed_modality='mean' returns the mean of both vectors"
            if task == "embed"
            else "the task 'embed' can return the mean of both vectors"
        )
        message = (
            f"{self.name} accepts text-only or image-only inputs, not both! Image-only inputs means passing an image "
            f"with an empty text prompt. {hint}"
        )
        return InvalidInputError(message, parameter=PARAMETER)


def _has_text(prompt: Prompt) -> bool:
    """Return True if the prompt has a text or token ids, possibly besides an image."""
    return prompt.multi_modal_data is None or bool(prompt.text or prompt.token_ids)


def request_of(patches: Patches, representations: Sequence[Representation]) -> PoolingRequest:
    """Return the request for an image: one input token per patch, and a final token for the whole image."""
    return PoolingRequest(
        input_ids=np.zeros(len(patches.pixels) + 1, dtype=np.int64),
        representations=tuple(representations),
        features={"pixels": patches.pixels, "grid": patches.grid},
        group=GROUP,
    )
