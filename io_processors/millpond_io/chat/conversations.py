"""Rendering of a conversation as one text, with the chat template or, without one, as one line per message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millpond.context import Context
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import ImagePart
from millpond_io.chat.roles import MAX_TEMPLATE_CHARS
from millpond_io.chat.templates import JinjaTemplate, read_template
from millpond_io.images.parts import NO_IMAGE, images_of, in_lines, read_part, texts_of
from millpond_io.prompts import Conversation
from millpond_io.text.lengths import max_characters
from millpond_text.prompt import Prompt

RESERVED_VARIABLES = ("chat_template", "messages", "tools", "tokenize", "add_generation_prompt")
END_MARKER = "END_OF_THE_CONTINUED_MESSAGE "  # the trailing space shows whether the template strips texts


@dataclass(frozen=True)
class Message:
    """A validated message.

    Attributes:
        fields: The fields of the message, such as ``role``.
        parts: The content: texts and images, in order.
    """

    fields: Mapping[str, Any]
    parts: Sequence[str | ImagePart]

    @property
    def texts(self) -> list[str]:
        """The texts of the content."""
        return texts_of(self.parts)

    @property
    def images(self) -> list[object]:
        """The images of the content."""
        return images_of(self.parts)


class ConversationRenderer:
    """Renders conversations as prompts."""

    def __init__(self, ctx: Context) -> None:
        self.model = ctx.model.model
        self.reads_images = "image" in ctx.model.multimodal.modalities
        self.max_chars = max_characters(ctx.model.max_model_len) + MAX_TEMPLATE_CHARS
        tokenizer_template = None if ctx.tokenizer is None else ctx.tokenizer.chat_template
        source = ctx.model.prompting.chat_template or (None if tokenizer_template is None else tokenizer_template.text)
        if ctx.inputs.chat_template is not None:
            source = read_template(ctx.inputs.chat_template)
        self.template = None if source is None else JinjaTemplate(source)
        self.special_tokens = {} if ctx.tokenizer is None else ctx.tokenizer.special_tokens

    def render(self, conversation: Conversation) -> Prompt:
        """Return the prompt for a conversation: its text and, for models that read images, the images.

        The tokenizer adds no special tokens to the output of a template, unless the conversation requests it.

        Raises:
            InvalidInputError: If a message is invalid or not supported by the model, or the template fails.
        """
        messages = [self._message(message, index) for index, message in enumerate(conversation.messages)]
        self._check(conversation)
        if conversation.continue_final_message and self.has_template(conversation):
            text = _before_marker(self._with_prefix(conversation, [*messages[:-1], _with_marker(messages[-1])]))
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
        """Return the text of the prefix and the messages, with the prefix as a system message if possible."""
        prefix = conversation.prefix
        if prefix and self.has_template(conversation):
            system = Message({"role": "system", "content": prefix}, [prefix])
            try:
                text = self.text_of(conversation, [system, *messages])
            except InvalidInputError:  # the template has no system messages, or other messages fail again below
                text = ""
            if prefix.strip() in text:
                return text
        text = self.text_of(conversation, messages)
        first = self.special_tokens.get("bos_token") or ""
        return f"{first}{prefix}{text.removeprefix(first)}" if prefix and text.startswith(first) else prefix + text

    def text_of(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """Return the text of messages, without their images."""
        return self.render_contents(conversation, ["\n".join(message.texts) for message in messages], messages)

    def render_contents(
        self, conversation: Conversation, contents: Sequence[object], messages: Sequence[Message]
    ) -> str:
        """Return the text of messages with the given contents: the output of the template, or one line each."""
        if not self.has_template(conversation):
            return in_lines(str(content) for content in contents)
        records = [{**message.fields, "content": content} for message, content in zip(messages, contents, strict=True)]
        return self.render_template(conversation, records)

    def has_template(self, conversation: Conversation) -> bool:
        """Return True if the request or the model has a chat template."""
        return conversation.template is not None or self.template is not None

    @staticmethod
    def _check(conversation: Conversation) -> None:
        """Check that there are messages, and that the options do not contradict each other."""
        if not conversation.messages:
            message = "'messages' is empty: pass at least one message"
            raise InvalidInputError(message, parameter="messages")
        if conversation.add_generation_prompt and conversation.continue_final_message:
            message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            raise InvalidInputError(message, parameter="continue_final_message")
        reserved = next((name for name in RESERVED_VARIABLES if name in (conversation.variables or {})), None)
        if reserved is not None:
            message = f"chat_template_kwargs must not contain the reserved name {reserved!r}"
            raise InvalidInputError(message, parameter="chat_template_kwargs")

    def render_template(self, conversation: Conversation, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return the output of the template. The template of a request is rendered with limits."""
        template, variables = self.template, self._variables(conversation, messages)
        if conversation.template is not None:
            if conversation.budget is not None:
                from millpond_io.chat.request_templates import render_request_template  # noqa: PLC0415  imports jinja2

                return render_request_template(conversation.template, variables, self.max_chars, conversation.budget)
            template = JinjaTemplate(conversation.template)
        return "" if template is None else template.render(variables, self.max_chars)

    def _variables(self, conversation: Conversation, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            **self.special_tokens,
            **(conversation.variables or {}),
            "messages": messages,
            "add_generation_prompt": conversation.add_generation_prompt,
        }

    def _message(self, message: object, index: int) -> Message:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            text = f"messages[{index}] must be an object with a 'role' and a 'content'"
            raise InvalidInputError(text, parameter="messages")
        content = message.get("content")
        if isinstance(content, str):
            return Message(message, [str(content)])
        if not isinstance(content, list | tuple) or not content:
            text = f"messages[{index}]: 'content' must be a text or a list of parts"
            raise InvalidInputError(text, parameter="messages")
        return Message(message, [self._part(part, index) for part in content])

    def _part(self, record: object, index: int) -> str | ImagePart:
        part = read_part(record)
        if part is None or not (self.reads_images or isinstance(part, str)):
            types = "types text and image_url" if self.reads_images else "type text"
            text = f"messages[{index}]: the model {self.model!r} only supports parts of {types}"
            raise InvalidInputError(text, parameter="messages")
        if isinstance(part, ImagePart) and part.image is None:
            raise InvalidInputError(f"messages[{index}]: {NO_IMAGE}", parameter="messages")
        return part


def _with_marker(message: Message) -> Message:
    """Return the message with a marker after its last text, because the template may add more text after it."""
    text_indices = [index for index, part in enumerate(message.parts) if isinstance(part, str)]
    if not text_indices:
        text = "the last message has no text that could be continued"
        raise InvalidInputError(text, parameter="continue_final_message")
    parts = list(message.parts)
    parts[text_indices[-1]] = f"{parts[text_indices[-1]]}{END_MARKER}"
    return Message(message.fields, parts)


def _before_marker(text: str) -> str:
    """Return the text before the marker, without trailing spaces if the template strips texts."""
    marker = END_MARKER.strip()
    before, separator, after = text.rpartition(marker)
    if not separator:
        message = "the chat template does not write the last message, or changes its text, so it cannot be continued"
        raise InvalidInputError(message, parameter="continue_final_message")
    return before if after.startswith(END_MARKER[len(marker) :]) else before.rstrip()
