"""From a conversation to one text: the model's chat template, or its contents a line each where there is none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from millpond.context import Context
from millpond.errors import InvalidInputError
from millpond.inputs import Conversation, Prompt
from millpond_io.bounded import render_bounded
from millpond_io.lengths import most_characters
from millpond_io.templates import JinjaTemplate, read_template

RESERVED = ("chat_template", "messages", "tools", "tokenize", "add_generation_prompt")
IMAGES = ("image_url", "image_pil")  # types of parts
ROOM = 100_000  # characters that a template may add to its messages


class Conversations:
    """Writes conversations as the model reads them."""

    def __init__(self, ctx: Context) -> None:
        self.model = ctx.model.model
        self.longest = most_characters(ctx.model.max_model_len) + ROOM
        given, own = ctx.inputs.chat_template, None if ctx.tokenizer is None else ctx.tokenizer.chat_template
        source = read_template(given) if given is not None else None if own is None else own.text
        self.template = None if source is None else JinjaTemplate(source)
        self.special = {} if ctx.tokenizer is None else ctx.tokenizer.special_tokens

    def written(self, conversation: Conversation) -> Prompt:
        """The text of a conversation; special tokens are those that the template writes, unless more are asked for.

        Raises:
            InvalidInputError: If a message has no content that the model reads, or the template fails on it.
        """
        messages = [_message(message, place, self.model) for place, message in enumerate(conversation.messages)]
        if not messages:
            message = "'messages' is empty: pass at least one message"
            raise InvalidInputError(message, parameter="messages")
        if conversation.add_generation_prompt and conversation.continue_final_message:
            message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            raise InvalidInputError(message, parameter="continue_final_message")
        taken = next((name for name in RESERVED if name in (conversation.variables or {})), None)
        if taken is not None:
            message = f"chat_template_kwargs may not hold {taken!r}: it is decided otherwise"
            raise InvalidInputError(message, parameter="chat_template_kwargs")
        if conversation.template is None and self.template is None:
            return Prompt(text="\n".join(filter(None, (message["content"] for message in messages))))
        text = self._rendered(conversation, self._variables(conversation, messages))
        if conversation.continue_final_message:
            text = _opened(text, messages[-1]["content"])
        return Prompt(text=text, add_special_tokens=conversation.add_special_tokens)

    def _rendered(self, conversation: Conversation, variables: dict[str, Any]) -> str:
        """What the template writes; one that somebody else brings, where it can do no harm."""
        template = self.template
        if conversation.template is not None:
            if conversation.budget is not None:
                return render_bounded(conversation.template, variables, self.longest, conversation.budget)
            template = JinjaTemplate(conversation.template)
        return "" if template is None else template.render(variables, self.longest)

    def _variables(self, conversation: Conversation, messages: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            **self.special,
            **(conversation.variables or {}),
            "messages": messages,
            "add_generation_prompt": conversation.add_generation_prompt,
        }


def parts_of(conversation: Conversation) -> tuple[Conversation, list[object]]:
    """A conversation without the images in its messages, and these: URLs, or images of the program's own.

    Raises:
        InvalidInputError: If a part says that it is an image, and holds none.
    """
    messages: list[object] = []
    images: list[object] = []
    for place, message in enumerate(conversation.messages):
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(message, Mapping) or not isinstance(content, list | tuple):
            messages.append(message)
            continue
        own = [part for part in content if not _is_image(part)]
        images += [_image_of(part, place) for part in content if _is_image(part)]
        messages.append({**message, "content": own or ("" if content else content)})
    return replace(conversation, messages=tuple(messages)), images


def _is_image(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in IMAGES


def _image_of(part: Mapping[str, object], place: int) -> object:
    kind = str(part["type"])
    held = part.get(kind)
    image = held.get("url") if isinstance(held, Mapping) else held
    if image is None:
        message = f"messages[{place}]: a part of the type {kind} must hold one, such as {{'url': ...}} under image_url"
        raise InvalidInputError(message, parameter="messages")
    return image


def _message(message: object, place: int, model: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        text = f"messages[{place}] must be an object with a 'role' and a 'content'"
        raise InvalidInputError(text, parameter="messages")
    return {**message, "content": _content(message.get("content"), place, model)}


def _content(content: object, place: int, model: str) -> str:
    if isinstance(content, str):
        return str(content)
    if not isinstance(content, list | tuple) or not content:
        message = f"messages[{place}]: 'content' must be a text or a list of parts"
        raise InvalidInputError(message, parameter="messages")
    texts: list[str] = []
    for part in content:
        text = part if isinstance(part, str) else _text_of(part)
        if not isinstance(text, str):
            message = f"messages[{place}]: the model {model!r} reads parts of the type text alone"
            raise InvalidInputError(message, parameter="messages")
        texts.append(text)
    return "\n".join(texts)


def _text_of(part: object) -> object:
    return part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else None


def _opened(text: str, last: str) -> str:
    """The text up to the end of its last message, so that the message goes on."""
    end = text.rfind(last.strip())
    return text if end < 0 or not last.strip() else text[: end + len(last.strip())]
