"""From a conversation to one text: the model's chat template, or its contents a line each where there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millpond.context import Context
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import Conversation, ImagePart, Prompt
from millpond_io.chat.request_templates import render_request_template
from millpond_io.chat.roles import ROOM
from millpond_io.chat.templates import JinjaTemplate, read_template
from millpond_io.images.parts import NO_IMAGE, images_of, in_lines, read_part, texts_of
from millpond_io.text.lengths import max_characters

RESERVED = ("chat_template", "messages", "tools", "tokenize", "add_generation_prompt")
END = "END_OF_THE_MESSAGE_THAT_GOES_ON "  # the space tells whether a template takes spaces away


@dataclass(frozen=True)
class Message:
    """A message that is checked.

    Attributes:
        said: All of it.
        parts: Its content: texts and images, in order.
    """

    said: Mapping[str, Any]
    parts: Sequence[str | ImagePart]

    @property
    def texts(self) -> list[str]:
        """The texts among its parts."""
        return texts_of(self.parts)

    @property
    def images(self) -> list[object]:
        """The images among its parts."""
        return images_of(self.parts)


class Conversations:
    """Writes conversations as the model reads them."""

    def __init__(self, ctx: Context) -> None:
        self.model = ctx.model.model
        self.sees = "image" in ctx.model.multimodal.modalities
        self.longest = max_characters(ctx.model.max_model_len) + ROOM
        given, own = ctx.inputs.chat_template, None if ctx.tokenizer is None else ctx.tokenizer.chat_template
        known = ctx.model.prompting.chat_template or (None if own is None else own.text)
        source = known if given is None else read_template(given)
        self.template = None if source is None else JinjaTemplate(source)
        self.special = {} if ctx.tokenizer is None else ctx.tokenizer.special_tokens

    def written(self, conversation: Conversation) -> Prompt:
        """The text of a conversation, and the images in its messages, for models that see.

        Special tokens are those that the template writes, unless more are asked for.

        Raises:
            InvalidInputError: If a message has no content that the model reads, or the template fails on it.
        """
        messages = [self._message(message, place) for place, message in enumerate(conversation.messages)]
        self._check(conversation)
        if conversation.continue_final_message and self.has_template(conversation):
            text = _up_to_end(self._with_prefix(conversation, [*messages[:-1], _ended(messages[-1])]))
        else:
            text = self._with_prefix(conversation, messages)
        images = [image for message in messages for image in message.images]
        special = conversation.add_special_tokens or not self.has_template(conversation)
        return Prompt(
            text=text,
            multi_modal_data={"image": images} if images else None,
            add_special_tokens=special,
            is_written=True,
            image_options=conversation.image_options,
        )

    def _with_prefix(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """Return the text of messages with the text that the model reads before them."""
        prefix = conversation.prefix
        if prefix and self.has_template(conversation):
            said = Message({"role": "system", "content": prefix}, [prefix])
            try:
                text = self.text_of(conversation, [said, *messages])
            except InvalidInputError:  # it takes no such message, or fails on the others, and then does so again
                text = ""
            if prefix.strip() in text:
                return text
        text = self.text_of(conversation, messages)
        first = self.special.get("bos_token") or ""
        return f"{first}{prefix}{text.removeprefix(first)}" if prefix and text.startswith(first) else prefix + text

    def text_of(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """Return the text of messages, without their images."""
        return self.filled(conversation, ["\n".join(message.texts) for message in messages], messages)

    def filled(self, conversation: Conversation, contents: Sequence[object], messages: Sequence[Message]) -> str:
        """Return the text of messages with these contents: the output of the template, or one line each."""
        if not self.has_template(conversation):
            return in_lines(str(content) for content in contents)
        filled = [{**message.said, "content": content} for message, content in zip(messages, contents, strict=True)]
        return self.rendered(conversation, filled)

    def has_template(self, conversation: Conversation) -> bool:
        """Return whether a template writes it."""
        return conversation.template is not None or self.template is not None

    @staticmethod
    def _check(conversation: Conversation) -> None:
        """Refuse a conversation of no messages, or what cannot be asked of it."""
        if not conversation.messages:
            message = "'messages' is empty: pass at least one message"
            raise InvalidInputError(message, parameter="messages")
        if conversation.add_generation_prompt and conversation.continue_final_message:
            message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            raise InvalidInputError(message, parameter="continue_final_message")
        taken = next((name for name in RESERVED if name in (conversation.variables or {})), None)
        if taken is not None:
            message = f"chat_template_kwargs may not hold {taken!r}: it is decided otherwise"
            raise InvalidInputError(message, parameter="chat_template_kwargs")

    def rendered(self, conversation: Conversation, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return the output of the template; a template that a request sent is rendered within limits."""
        template, variables = self.template, self._variables(conversation, messages)
        if conversation.template is not None:
            if conversation.budget is not None:
                return render_request_template(conversation.template, variables, self.longest, conversation.budget)
            template = JinjaTemplate(conversation.template)
        return "" if template is None else template.render(variables, self.longest)

    def _variables(self, conversation: Conversation, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            **self.special,
            **(conversation.variables or {}),
            "messages": messages,
            "add_generation_prompt": conversation.add_generation_prompt,
        }

    def _message(self, message: object, place: int) -> Message:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            text = f"messages[{place}] must be an object with a 'role' and a 'content'"
            raise InvalidInputError(text, parameter="messages")
        content = message.get("content")
        if isinstance(content, str):
            return Message(message, [str(content)])
        if not isinstance(content, list | tuple) or not content:
            text = f"messages[{place}]: 'content' must be a text or a list of parts"
            raise InvalidInputError(text, parameter="messages")
        return Message(message, [self._part(part, place) for part in content])

    def _part(self, part: object, place: int) -> str | ImagePart:
        found = read_part(part)
        if found is None or not (self.sees or isinstance(found, str)):
            types = "types text and image_url" if self.sees else "type text alone"
            text = f"messages[{place}]: the model {self.model!r} reads parts of the {types}"
            raise InvalidInputError(text, parameter="messages")
        if isinstance(found, ImagePart) and found.image is None:
            raise InvalidInputError(f"messages[{place}]: {NO_IMAGE}", parameter="messages")
        return found


def _ended(message: Message) -> Message:
    """A message whose last text is followed by what marks its end, for a template may write more behind it."""
    places = [place for place, part in enumerate(message.parts) if isinstance(part, str)]
    if not places:
        text = "the last message has no text that could be continued"
        raise InvalidInputError(text, parameter="continue_final_message")
    parts = list(message.parts)
    parts[places[-1]] = f"{parts[places[-1]]}{END}"
    return Message(message.said, parts)


def _up_to_end(text: str) -> str:
    """What stands before the mark of an end, without spaces that the template takes away at ends itself."""
    before, found, behind = text.rpartition(END.strip())
    if not found:
        message = "the chat template does not write the last message, or changes its text, so it cannot be continued"
        raise InvalidInputError(message, parameter="continue_final_message")
    return before if behind.startswith(END[len(END.strip()) :]) else before.rstrip()
