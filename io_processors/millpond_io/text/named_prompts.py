"""NamedPrompts: the step that puts an instruction before a text, selected by text, by name, or by default."""

from functools import lru_cache

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import PROMPT_NAMES
from millpond_io.chat.images import template_of_texts
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt


class NamedPrompts(TextStep):
    """The named prompts of a model and its default prompt.

    Attributes:
        named: The prompts of the checkpoint by name.
        default: The prompt of calls that specify none; empty for no prompt.
        adapters: The names of the model's adapters.
        in_messages: True if the chat template renders texts, so that the instruction is a message.
        special_ids: The ids of the tokenizer's special tokens.
    """

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.model = ctx.model.model
        self.in_messages = template_of_texts(ctx) is not None
        self.named = ctx.model.prompting.prompts
        self.adapters = ctx.model.prompting.adapters
        self.default_name = ctx.model.prompting.default_name if ctx.inputs.apply_default_prompt else None
        self.default = "" if self.default_name is None else self.named.get(self.default_name, "")
        self.tokenizer = ctx.tokenizer
        added = {} if ctx.tokenizer is None else ctx.tokenizer.backend.get_added_tokens_decoder()
        self.special_ids: frozenset[int] = frozenset(id_ for id_, token in added.items() if token.special)
        self._count = lru_cache(maxsize=256)(self._count_tokens)

    def check(self, params: PoolingParams) -> None:
        """Check the prompt and the adapter of a call.

        Raises:
            InvalidInputError: If a name is unknown, if both the prompt and its name are set, or if the prompt cannot be
                encoded.
        """
        if params.prompt is not None and params.prompt_name is not None:
            message = (
                f"prompt={params.prompt!r} and prompt_name={params.prompt_name!r} are both given: pass the text or its "
                "name, not both"
            )
            raise InvalidInputError(message, parameter="prompt")
        if params.prompt_name and params.prompt_name not in self.named:
            names = ", ".join(map(repr, self.named)) or "none"
            message = (
                f"prompt_name={params.prompt_name!r}: the model {self.model!r} has no prompt of that name. Available: "
                f"{names}. prompt=... accepts any text"
            )
            raise InvalidInputError(message, parameter="prompt_name")
        if params.prompt is not None:
            _check_encodable(params.prompt)
        if params.adapter is not None and params.adapter not in self.adapters:
            names = ", ".join(map(repr, self.adapters)) or "none"
            message = (
                f"adapter={params.adapter!r}: the model {self.model!r} has no adapter of that name. Available: {names}"
            )
            raise InvalidInputError(message, parameter="adapter")

    def with_adapter(self, params: PoolingParams) -> PoolingParams:
        """Return the parameters with the adapter that has the name of the prompt, unless they name an adapter."""
        if params.adapter is not None or params.prompt is not None or not self.adapters:
            return params
        name = params.prompt_name if params.prompt_name is not None else self.default_name
        return params.model_copy(update={"adapter": name}) if name in self.adapters else params

    def by_input_type(self, params: PoolingParams, input_type: str) -> PoolingParams | None:
        """Return the parameters with the prompt for queries or documents; None for a model with prompts for neither.

        Documents have no prompt if the model only has one for queries, as in sentence-transformers.

        Raises:
            InvalidInputError: If the parameters already select a prompt.
        """
        if not any(name in self.named for names in PROMPT_NAMES.values() for name in names):
            return None
        name = next((name for name in PROMPT_NAMES[input_type] if name in self.named), None)
        if params.prompt is not None or params.prompt_name not in (None, name):
            message = (
                f"input_type={input_type!r} selects a prompt of {self.model!r}: with it, neither prompt nor "
                "prompt_name can be set"
            )
            raise InvalidInputError(message, parameter="input_type")
        return params if name is None else self.with_adapter(params.model_copy(update={"prompt_name": name}))

    def of(self, params: PoolingParams) -> str:
        """Return the prompt of a call; empty for none."""
        if params.prompt is not None:
            return params.prompt
        if params.prompt_name is not None:
            return self.named.get(params.prompt_name, "")
        return self.default if params.adapter is None else self.named.get(params.adapter, self.default)

    def on_prompt(self, prompt: Prompt, call: Call) -> None:
        """Put the prompt of the call before the caller's text.

        Raises:
            InvalidInputError: If the call specifies a prompt and the caller passed token ids.
        """
        params = call.params
        if prompt.text is not None:
            text = self.of(params)
            if text and (prompt.is_written or not self.in_messages):
                prompt.text = text + prompt.text
        elif params.prompt or params.prompt_name:
            name = "prompt" if params.prompt else "prompt_name"
            message = (
                f"{name}={getattr(params, name)!r} requires text, and these are token ids: pass text, or ids that "
                "begin with those of the prompt"
            )
            raise InvalidInputError(message, parameter=name)

    def num_tokens(self, params: PoolingParams, *, special: bool = True) -> int:
        """Return the number of tokens of the prompt before a text, including special tokens before it.

        They are counted as in sentence-transformers: by tokenizing the prompt separately, without a special token at
        its end.
        """
        text = self.of(params)
        return self._count(text, special) if text else 0

    def _count_tokens(self, text: str, special: bool) -> int:
        if self.tokenizer is None:
            return 0
        (encoding,) = self.tokenizer.encode_batch([text], add_special_tokens=special)
        ids: list[int] = encoding.ids
        return len(ids) - (bool(ids) and ids[-1] in self.special_ids)


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"prompt={text!a}: it has a lone surrogate at character {error.start} and is not valid Unicode"
        raise InvalidInputError(message, parameter="prompt") from None
