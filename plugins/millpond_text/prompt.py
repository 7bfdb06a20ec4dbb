"""Prompt and TextJob: what the steps of a text read and change."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from millpond.pipeline.io_processor import Call, Job
from millpond_modeling.images import ImageOptions


@dataclass(kw_only=True, slots=True)
class Prompt:
    """One prompt before it is tokenized; steps change it in place.

    Attributes:
        text: The text; None for token ids, or for images alone.
        token_ids: The token ids that the caller passed in place of a text, not yet checked against a vocabulary.
        multi_modal_data: Images by modality; None for none.
        image_options: The options of its images.
        add_special_tokens: True if the tokenizer adds special tokens to the text.
        is_written: True if the chat template of a conversation wrote the text.
        ending: Token ids that truncation keeps at the end.
        max_tokens: The maximum number of tokens after truncation; None for the setting of the call.
    """

    text: str | None = None
    token_ids: tuple[object, ...] | None = None
    multi_modal_data: Mapping[str, object] | None = None
    image_options: ImageOptions | None = None
    add_special_tokens: bool = True
    is_written: bool = False
    ending: tuple[int, ...] = ()
    max_tokens: int | None = None


@dataclass(eq=False, kw_only=True, slots=True)
class TextJob(Job):
    """The sequences of a prompt; steps change them in place, or replace them.

    Attributes:
        call: The call of the prompt.
        prompt: The prompt as it was tokenized; an empty one for pairs of texts.
        notes: Values that a step passes from ``on_tokens`` to ``on_output``, by the name of the step.
    """

    call: Call
    prompt: Prompt = field(default_factory=Prompt)
    notes: dict[str, object] = field(default_factory=dict)
