"""Conversations with images in their messages, for models that read both in one text."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count

from millpond.context import Context
from millpond.pipeline.image_reader import ImageReader
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import Conversation
from millpond_io.chat.conversations import Conversations, Message
from millpond_io.chat.templates import JinjaTemplate
from millpond_io.images.parts import in_lines
from millpond_io.images.texts import ImageTexts

WORD = "probe"
TRIAL = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": WORD}]},)


class ImageConversations(Conversations):
    """Writes conversations with something in the text for each image, where it stands among the parts of its message.

    A template that knows parts of messages writes that itself. Where it knows texts alone, and where there is none, it
    is written into the texts. A caller whose texts hold as many marks as there are images has done so already.
    """

    def __init__(self, ctx: Context, reader: ImageReader) -> None:
        super().__init__(ctx)
        self.reader = reader
        if self.template is None and reader.chat_template is not None:
            self.template = JinjaTemplate(reader.chat_template)

    def text_of(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """What is written of messages, their images marked."""
        marks = sum(len(self.reader.mark.findall(text)) for message in messages for text in message.texts)
        placed = 0 < marks == sum(len(message.images) for message in messages)
        if self.has_template(conversation) and self._takes_parts(conversation):
            return self.filled(conversation, [_parts(message, placed=placed) for message in messages], messages)
        numbers = count(1)
        texts = [in_lines(message.texts if placed else self._marked(message, numbers)) for message in messages]
        return self.filled(conversation, texts, messages)

    def _marked(self, message: Message, numbers: Iterator[int]) -> Iterator[str]:
        """The parts of a message as texts."""
        for part in message.parts:
            yield part if isinstance(part, str) else self.reader.placeholder(next(numbers))

    def _takes_parts(self, conversation: Conversation) -> bool:
        """Whether the template writes something for the images among parts."""
        return self._own_takes_parts if conversation.template is None else self._writes_images(conversation)

    @cached_property
    def _own_takes_parts(self) -> bool:
        return self._writes_images(Conversation(messages=TRIAL))

    def _writes_images(self, conversation: Conversation) -> bool:
        bare = replace(conversation, variables=None, add_generation_prompt=False)
        try:
            text = self.rendered(bare, TRIAL)
        except InvalidInputError:  # it takes the content for a text
            return False
        return WORD in text and self.reader.mark.search(text) is not None


def _parts(message: Message, *, placed: bool) -> list[dict[str, str]]:
    """The parts of a message as templates know them; without its images where the texts have marks for them."""
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in message.parts
        if isinstance(part, str) or not placed
    ]


class BareConversations(Conversations):
    """Conversations of a model that reads an image alone, or a text: what is said, without the names of who says it.

    A checkpoint's template is that of the model it was made of; one that the caller brings is followed.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        if ctx.inputs.chat_template is None:
            self.template = None

    def text_of(self, conversation: Conversation, messages: Sequence[Message]) -> str:
        """What is written of messages; nothing where they hold no text."""
        return super().text_of(conversation, messages) if any(message.texts for message in messages) else ""


def conversations_of(ctx: Context, images: ImageTexts | None) -> Conversations:
    """What writes the conversations of a model."""
    if images is None:
        return Conversations(ctx)
    return BareConversations(ctx) if images.reader.alone else ImageConversations(ctx, images.reader)
