"""Prompts that may hold an image: a text, or an image, or by choice both, whose vectors' mean is the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.types.errors import InvalidInputError
from millpond.types.image_options import PARAMETER as OPTIONS
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt
from millpond_io.images.files import PARAMETER
from millpond_io.images.inputs import Images
from millpond_io.images.patches import Patcher, Patches
from millpond_io.images.settings import read_settings

if TYPE_CHECKING:
    from millpond_io.text.processor import TextProcessor

GROUP = "image"  # images and texts share no batch: each has a tower of its own
MIXED = "mixed"
WAYS = ("error", "mean")
NAMES: Mapping[str, str] = {"CLIPModel": "CLIP", "SiglipModel": "SigLIP", "Siglip2Model": "SigLIP"}
Item = tuple[Prompt, PoolingParams]
Made = list[PoolingRequest] | InvalidInputError


class ImagePrompts:
    """What the IO processor of embeddings does with prompts of a model that reads a text or an image."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.images = Images(ctx, most=min(1, ctx.inputs.limit_mm_per_prompt.get("image", 1)))
        self.name = NAMES.get(ctx.model.architecture, ctx.model.architecture)
        self.mixed = ctx.inputs.mixed

    @cached_property
    def patcher(self) -> Patcher:
        """Makes patches by the settings of the checkpoint, which are read when the first image comes."""
        return Patcher(read_settings(self.ctx))

    def parse(self, processor: "TextProcessor", prompt: Prompt) -> Prompt:
        """A prompt that is checked, its image read.

        Raises:
            InvalidInputError: If it cannot be served.
        """
        if prompt.conversation is not None:
            prompt = processor.conversations.written(prompt.conversation)
        if prompt.multi_modal_data is None:
            return processor.renderer.check(prompt)
        bare = replace(prompt, multi_modal_data=None)
        if bare.text or bare.token_ids:
            processor.renderer.check(bare)
        if prompt.image_options is not None and prompt.image_options.values:
            message = f"{OPTIONS}: {self.name} reads all images in the size that its checkpoint says; leave it out"
            raise InvalidInputError(message, parameter=OPTIONS)
        (image,) = self.images.each(prompt.multi_modal_data)
        return replace(prompt, multi_modal_data={"image": self.images.read(image, self.patcher)})

    def requests(
        self, items: Sequence[Item], of_texts: Callable[[Sequence[Item]], list[Made]], task: str
    ) -> list[Made]:
        """The requests of parsed prompts.

        Args:
            items: They, with their parameters.
            of_texts: Makes those of texts.
            task: The task that is asked.
        """
        texts = [(replace(prompt, multi_modal_data=None), params) for prompt, params in items if _has_text(prompt)]
        made = iter(of_texts(texts) if texts else ())
        return [self._made(item, next(made) if _has_text(item[0]) else [], task) for item in items]

    def _made(self, item: Item, texts: Made, task: str) -> Made:
        prompt, params = item
        patches = (prompt.multi_modal_data or {}).get("image")
        if isinstance(texts, InvalidInputError) or not isinstance(patches, Patches):
            return texts
        if texts:
            fault = self._refusal(params, task)
            if fault is not None:
                return fault
        image = request_of(patches, [Representation(task, params)])
        if texts:
            whole = texts[0].input_ids if texts[0].whole is None else texts[0].whole
            texts[0].whole = np.concatenate([whole, image.input_ids])
        return [*texts, image]

    def _refusal(self, params: PoolingParams, task: str) -> InvalidInputError | None:
        """Why a text and an image are not taken together; None if they are."""
        way = (params.extra_kwargs or {}).get(MIXED, self.mixed)
        if way not in WAYS:
            return InvalidInputError(f"{MIXED}={way!r}: expected 'error' or 'mean'", parameter=MIXED)
        if way == "mean" and task == "embed":
            return None
        hint = (
            "mixed='mean' gives the mean of both vectors" if task == "embed" else "the task 'embed' can give their mean"
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
