"""Prompts that may hold an image: a text, or an image, or by choice both, whose vectors' mean is the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Asked, Work
from millpond.types.errors import InvalidInputError
from millpond.types.image_options import PARAMETER as OPTIONS
from millpond.types.prompts import Prompt
from millpond_io.images.files import PARAMETER
from millpond_io.images.inputs import Images
from millpond_io.images.patches import Patcher, Patches
from millpond_io.images.settings import read_settings
from millpond_io.text.processor import TextProcessor, TextWork

GROUP = "image"  # images and texts share no batch: each has a tower of its own
MIXED_MODALITY = "mixed_modality"
WAYS = ("error", "mean")
NAMES: Mapping[str, str] = {"CLIPModel": "CLIP", "SiglipModel": "SigLIP", "Siglip2Model": "SigLIP"}


class ImagePrompts:
    """What the IO processor of embeddings does with prompts of a model that reads a text or an image."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.images = Images(ctx, most=min(1, ctx.inputs.limit_mm_per_prompt.get("image", 1)))
        self.name = NAMES.get(ctx.model.architecture, ctx.model.architecture)
        self.mixed_modality = ctx.inputs.mixed_modality

    @cached_property
    def patcher(self) -> Patcher:
        """Makes patches by the settings of the checkpoint, which are read when the first image comes."""
        return Patcher(read_settings(self.ctx))

    def read(self, processor: TextProcessor, prompt: Prompt) -> Prompt:
        """A prompt that is checked, its image read.

        Raises:
            InvalidInputError: If it cannot be served.
        """
        if prompt.conversation is not None:
            prompt = processor.conversations.written(prompt.conversation)
        if prompt.multi_modal_data is None:
            return processor.prompt_tokenizer.check(prompt)
        bare = replace(prompt, multi_modal_data=None)
        if bare.text or bare.token_ids:
            processor.prompt_tokenizer.check(bare)
        if prompt.image_options is not None and prompt.image_options.values:
            message = f"{OPTIONS}: {self.name} reads all images in the size that its checkpoint says; leave it out"
            raise InvalidInputError(message, parameter=OPTIONS)
        (image,) = self.images.each(prompt.multi_modal_data)
        return replace(prompt, multi_modal_data={"image": self.images.read(image, self.patcher)})

    def works(
        self,
        prompts: Sequence[tuple[Prompt, Asked]],
        of_texts: Callable[[Sequence[tuple[Prompt, Asked]]], list[Work]],
        task: str,
    ) -> list[Work]:
        """Return the works of prompts that were read.

        Args:
            prompts: The prompts, with what is asked of them.
            of_texts: Makes those of texts.
            task: The task that is asked.
        """
        texts = [(replace(prompt, multi_modal_data=None), asked) for prompt, asked in prompts if _has_text(prompt)]
        made = iter(of_texts(texts) if texts else ())
        return [self._work(prompt, asked, next(made) if _has_text(prompt) else None, task) for prompt, asked in prompts]

    def _work(self, prompt: Prompt, asked: Asked, text: Work | None, task: str) -> Work:
        patches = (prompt.multi_modal_data or {}).get("image")
        if text is not None and (text.error is not None or not isinstance(patches, Patches)):
            return text
        assert isinstance(patches, Patches)  # noqa: S101  what has no text has an image
        fault = None if text is None else self._refusal(asked, task)
        if fault is not None:
            return Work(error=fault)
        image = request_of(patches, [Representation(task, asked.params)])
        sequences = () if text is None else text.sequences
        if sequences:
            whole = sequences[0].input_ids if sequences[0].whole is None else sequences[0].whole
            sequences[0].whole = np.concatenate([whole, image.input_ids])
        return TextWork(sequences=(*sequences, image), asked=asked)

    def _refusal(self, asked: Asked, task: str) -> InvalidInputError | None:
        """Why a text and an image are not taken together; None if they are."""
        way = getattr(asked.options, MIXED_MODALITY, None) or self.mixed_modality
        if way not in WAYS:
            return InvalidInputError(f"{MIXED_MODALITY}={way!r}: expected 'error' or 'mean'", parameter=MIXED_MODALITY)
        if way == "mean" and task == "embed":
            return None
        hint = (
            "mixed_modality='mean' returns the mean of both vectors"
            if task == "embed"
            else "the task 'embed' can give their mean"
        )
        message = (
            f"{self.name} accepts text-only or image-only inputs, not both! Image-only inputs means passing an image "
            f"with an empty text prompt. {hint}"
        )
        return InvalidInputError(message, parameter=PARAMETER)


def _has_text(prompt: Prompt) -> bool:
    """Whether there is more to read than an image."""
    return prompt.multi_modal_data is None or bool(prompt.text or prompt.token_ids)


def request_of(patches: Patches, representations: Sequence[Representation]) -> PoolingRequest:
    """The request of an image: its patches, and a token behind them that stands for all of it."""
    return PoolingRequest(
        input_ids=np.zeros(len(patches.pixels) + 1, dtype=np.int64),
        representations=tuple(representations),
        features={"pixels": patches.pixels, "grid": patches.grid},
        group=GROUP,
    )
