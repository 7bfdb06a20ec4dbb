"""Conversion of one prompt of a caller, in any of its forms; independent of tokenizers and models."""

from collections.abc import Mapping
from dataclasses import dataclass

from millpond.types.errors import InvalidInputError
from millpond.types.prompts import FORMS, NO_DATA, TemplateBudget, check_ordered, is_list
from millpond_modeling.images import PARAMETER as IMAGE_OPTIONS
from millpond_modeling.images import ImageOptions
from millpond_text.prompt import Prompt

CONTENTS = ("prompt", "prompt_token_ids", "data", "messages")
CHAT_FIELDS = (
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
)
BUDGET = "template_budget"  # with the template of a client
PREFIX = "prefix"  # with messages: the text before them
EXTRAS = frozenset({"multi_modal_data", IMAGE_OPTIONS, "multi_modal_uuids", "cache_salt"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A prompt given as messages, not yet checked.

    Attributes:
        messages: Objects with a ``role`` and a ``content``.
        template: The Jinja template; None for the model's template.
        budget: The CPU time for the template; None for a trusted template.
        variables: Additional variables of the template.
        add_generation_prompt: True if the template starts an answer.
        continue_final_message: True if the last message is not closed.
        add_special_tokens: True to add special tokens to those of the template.
        prefix: A text before the messages, such as an instruction: a system message if the template supports it, else
            text before the rendered messages.
        image_options: The options of its images.
    """

    messages: tuple[object, ...]
    template: str | None = None
    budget: TemplateBudget | None = None
    variables: Mapping[str, object] | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    add_special_tokens: bool = False
    prefix: str = ""
    image_options: ImageOptions | None = None


def parse_prompt(item: object) -> Prompt | Conversation:
    """Convert one prompt, or return the messages of a conversation.

    Raises:
        InvalidInputError: If its form is unknown.
    """
    if isinstance(item, str):
        return Prompt(text=str(item))
    if isinstance(item, Mapping):
        return _parse_mapping(item)
    check_ordered(item, "prompts")
    if is_list(item):
        return Prompt(token_ids=tuple(item))
    message = f"expected {FORMS}; got {type(item).__name__}"
    raise InvalidInputError(message, parameter="prompts")


def _parse_mapping(item: Mapping[str, object]) -> Prompt | Conversation:
    contents = [key for key in CONTENTS if item.get(key) is not None]
    images = item.get("multi_modal_data")
    images = None if isinstance(images, Mapping) and not images else images
    if len(contents) > 1:
        names = ", ".join(map(repr, contents))
        message = f"a prompt has one of 'prompt', 'prompt_token_ids', 'data', 'messages'; got {names}"
        raise InvalidInputError(message, parameter="prompts")
    if "prompt_embeds" in item:
        message = "'prompt_embeds' is not supported: pass 'prompt' or 'prompt_token_ids'"
        raise InvalidInputError(message, parameter="prompts")
    if "data" in item and item["data"] is None:
        raise InvalidInputError(NO_DATA, parameter="data")
    if not contents and images is None:
        message = f"expected {FORMS}; got a dict with the keys {sorted(map(str, item))}"
        raise InvalidInputError(message, parameter="prompts")
    options = (*CHAT_FIELDS, PREFIX) if contents == ["messages"] else ("add_special_tokens",)
    known = (*CONTENTS, *options, *sorted(EXTRAS))
    unknown = sorted(str(key) for key in item if key not in known and (key != BUDGET or contents != ["messages"]))
    if unknown:
        message = f"Unknown field {unknown[0]!r} of a prompt. Available: {', '.join(known)}"
        raise InvalidInputError(message, parameter=unknown[0])
    if images is not None and not isinstance(images, Mapping):
        message = f"'multi_modal_data' must be a dict such as {{'image': ...}}; got {type(images).__name__}"
        raise InvalidInputError(message, parameter="multi_modal_data")
    return _with_content(item, images)


def _with_content(item: Mapping[str, object], images: Mapping[str, object] | None) -> Prompt | Conversation:
    text, ids = item.get("prompt"), item.get("prompt_token_ids")
    if text is not None and not isinstance(text, str):
        message = f"'prompt' must be a str; got {type(text).__name__}"
        raise InvalidInputError(message, parameter="prompt")
    check_ordered(ids, "prompt_token_ids")
    if ids is not None and (isinstance(ids, str | Mapping) or not is_list(ids)):
        message = f"'prompt_token_ids' must be a list of integers; got {type(ids).__name__}"
        raise InvalidInputError(message, parameter="prompt_token_ids")
    special = item.get("add_special_tokens", True)
    if not isinstance(special, bool):
        message = f"'add_special_tokens' must be true or false; got {special!r}"
        raise InvalidInputError(message, parameter="add_special_tokens")
    if item.get("data") is not None:
        message = "The 'data' field is only supported for the 'plugin' pooling task."
        raise InvalidInputError(message, parameter="data")
    if item.get("messages") is not None:
        return _conversation(item)
    return Prompt(
        text=text,
        token_ids=None if ids is None else tuple(ids),
        multi_modal_data=images,
        add_special_tokens=special,
        image_options=_image_options(item),
    )


def _image_options(item: Mapping[str, object]) -> ImageOptions | None:
    """Return the options of the images of a prompt; None for none."""
    options = item.get(IMAGE_OPTIONS)
    if options is None or isinstance(options, ImageOptions):
        return options
    if not isinstance(options, Mapping):
        message = f"'{IMAGE_OPTIONS}' must be a dict of options of images; got {type(options).__name__}"
        raise InvalidInputError(message, parameter=IMAGE_OPTIONS)
    return ImageOptions(options) if options else None


def _conversation(item: Mapping[str, object]) -> Conversation:
    messages, template, variables = item["messages"], item.get("chat_template"), item.get("chat_template_kwargs")
    budget = item.get(BUDGET)
    if not isinstance(messages, list | tuple):
        message = f"'messages' must be a list of objects with 'role' and 'content'; got {type(messages).__name__}"
        raise InvalidInputError(message, parameter="messages")
    if template is not None and not isinstance(template, str):
        message = f"'chat_template' must be Jinja text; got {type(template).__name__}"
        raise InvalidInputError(message, parameter="chat_template")
    if variables is not None and not (isinstance(variables, Mapping) and all(isinstance(n, str) for n in variables)):
        message = f"'chat_template_kwargs' must be a dict of variables; got {type(variables).__name__}"
        raise InvalidInputError(message, parameter="chat_template_kwargs")
    if budget is not None and not isinstance(budget, TemplateBudget):
        message = f"'{BUDGET}' must be a TemplateBudget; got {type(budget).__name__}"
        raise InvalidInputError(message, parameter=BUDGET)
    prefix = item.get(PREFIX) or ""
    if not isinstance(prefix, str):
        message = f"'{PREFIX}' must be a str; got {type(prefix).__name__}"
        raise InvalidInputError(message, parameter=PREFIX)
    flags = {name: item.get(name) or False for name in CHAT_FIELDS[2:]}
    wrong = next((name for name, value in flags.items() if not isinstance(value, bool)), None)
    if wrong is not None:
        message = f"{wrong!r} must be true or false; got {flags[wrong]!r}"
        raise InvalidInputError(message, parameter=wrong)
    return Conversation(
        messages=tuple(messages),
        template=template,
        budget=budget,
        variables=variables,
        add_generation_prompt=flags["add_generation_prompt"] is True,
        continue_final_message=flags["continue_final_message"] is True,
        add_special_tokens=flags["add_special_tokens"] is True,
        prefix=prefix,
        image_options=_image_options(item),
    )
