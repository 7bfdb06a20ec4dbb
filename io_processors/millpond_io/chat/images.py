"""Rendering of conversations with images, for models that read texts and images."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count

from millpond.context import Context
from millpond.types.errors import InvalidInputError
from millpond_io.chat.conversations import ConversationRenderer, Message
from millpond_io.chat.templates import JinjaTemplate
from millpond_io.images.parts import in_lines, part_records
from millpond_io.images.texts import ImageTexts, image_texts
from millpond_io.prompts import Conversation
from millpond_modeling.images import ImageReader

PROBE_TEXT = "probe"
PROBE_MESSAGES = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROBE_TEXT}]},)


class ImageConversationRenderer(ConversationRenderer):
    """Renders conversations with a placeholder in the text for each image, at its position in the message.

    A template that supports parts of messages writes the placeholders. Otherwise they are inserted into the texts. If
    the texts already contain one placeholder per image, they are not changed.
    """

    def __init__(self, ctx: Context, reader: ImageReader) -> None:
        super().__init__(ctx)
        self.reader = reader
        if self.template is None and reader.chat_template is not None:
            self.template = JinjaTemplate(reader.chat_template)

    def text_of(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """Return the text of messages, with placeholders for their images."""
        num_placeholders = sum(len(self.reader.mark.findall(text)) for message in messages for text in message.texts)
        has_placeholders = 0 < num_placeholders == sum(len(message.images) for message in messages)
        if self.has_template(conversation) and self._supports_parts(conversation):
            contents = [part_records(message.parts, with_images=not has_placeholders) for message in messages]
            return self.render_contents(conversation, contents, messages)
        numbers = count(1)
        texts = [
            in_lines(message.texts if has_placeholders else self._with_placeholders(message, numbers))
            for message in messages
        ]
        return self.render_contents(conversation, texts, messages)

    def _with_placeholders(self, message: Message, numbers: Iterator[int]) -> Iterator[str]:
        """Yield the parts of a message as texts."""
        for part in message.parts:
            yield part if isinstance(part, str) else self.reader.placeholder(next(numbers))

    def _supports_parts(self, conversation: Conversation) -> bool:
        """Return True if the template writes placeholders for image parts."""
        return (
            self._model_template_writes_images if conversation.template is None else self._writes_images(conversation)
        )

    @cached_property
    def _model_template_writes_images(self) -> bool:
        return self._writes_images(Conversation(messages=PROBE_MESSAGES))

    def _writes_images(self, conversation: Conversation) -> bool:
        without_variables = replace(conversation, variables=None, add_generation_prompt=False)
        try:
            text = self.render_template(without_variables, PROBE_MESSAGES)
        except InvalidInputError:  # the template requires the content to be a text
            return False
        return PROBE_TEXT in text and self.reader.mark.search(text) is not None


class SingleInputRenderer(ConversationRenderer):
    """Renders conversations for models that read either one text or one image, such as CLIP, without roles.

    The template of the checkpoint is ignored, because it belongs to the base model; a template of the caller is used.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        if ctx.inputs.chat_template is None:
            self.template = None

    def text_of(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """Return the text of messages, or an empty text if they contain only images."""
        return super().text_of(conversation, messages) if any(message.texts for message in messages) else ""


def conversation_renderer(ctx: Context, images: ImageTexts | None) -> ConversationRenderer:
    """Return the conversation renderer of a model."""
    if images is None:
        return ConversationRenderer(ctx)
    return SingleInputRenderer(ctx) if images.reader.alone else ImageConversationRenderer(ctx, images.reader)


def template_of_texts(ctx: Context) -> JinjaTemplate | None:
    """Return the chat template that renders texts as messages; None if texts are not rendered."""
    chat_template = None if ctx.tokenizer is None else ctx.tokenizer.chat_template
    if chat_template is None or chat_template.texts_as is None:
        return None
    return conversation_renderer(ctx, image_texts(ctx)).template
