"""The prompts that are put before texts: which one a call means, and how many tokens it takes."""

from dataclasses import replace
from functools import lru_cache

from millpond.context import Context
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt


class Prompts:
    """The named prompts of a model, and the one that is put before texts by default.

    Attributes:
        named: Each prompt of the checkpoint by its name.
        default: What is put before a text where the call does not say; empty for nothing.
        adapters: The names of the model's adapters.
        special_ids: The ids of the tokenizer's special tokens.
    """

    def __init__(self, ctx: Context) -> None:
        self.model = ctx.model.model
        self.named = ctx.model.prompting.prompts
        self.adapters = ctx.model.prompting.adapters
        self.default_name = ctx.model.prompting.default_name if ctx.inputs.apply_default_prompt else None
        self.default = "" if self.default_name is None else self.named.get(self.default_name, "")
        self.tokenizer = ctx.tokenizer
        added = {} if ctx.tokenizer is None else ctx.tokenizer.backend.get_added_tokens_decoder()
        self.special_ids: frozenset[int] = frozenset(id_ for id_, token in added.items() if token.special)
        self._count = lru_cache(maxsize=256)(self._count_tokens)

    def check(self, params: PoolingParams) -> None:
        """Refuse parameters that name no prompt.

        Raises:
            InvalidInputError: If there is no prompt of that name, if a text is given beside the name, or if the text
                cannot be encoded.
        """
        if params.prompt is not None and params.prompt_name is not None:
            message = (
                f"prompt={params.prompt!r} and prompt_name={params.prompt_name!r} are both given: pass the text or its "
                "name, not both"
            )
            raise InvalidInputError(message, parameter="prompt")
        if params.prompt_name and params.prompt_name not in self.named:
            there = ", ".join(map(repr, self.named)) or "none"
            message = (
                f"prompt_name={params.prompt_name!r}: the model {self.model!r} has no prompt of that name; there are: "
                f"{there}. prompt=... takes any text"
            )
            raise InvalidInputError(message, parameter="prompt_name")
        if params.prompt is not None:
            _check_encodable(params.prompt)
        if params.adapter is not None and params.adapter not in self.adapters:
            there = ", ".join(map(repr, self.adapters)) or "none"
            message = (
                f"adapter={params.adapter!r}: the model {self.model!r} has no adapter of that name; there are: {there}"
            )
            raise InvalidInputError(message, parameter="adapter")

    def with_adapter(self, params: PoolingParams) -> PoolingParams:
        """The parameters with the adapter of the prompt that is put before texts, where none is named."""
        if params.adapter is not None or params.prompt is not None or not self.adapters:
            return params
        name = params.prompt_name if params.prompt_name is not None else self.default_name
        return params.model_copy(update={"adapter": name}) if name in self.adapters else params

    def of(self, params: PoolingParams) -> str:
        """What is put before a text; empty for nothing."""
        if params.prompt is not None:
            return params.prompt
        if params.prompt_name is not None:
            return self.named.get(params.prompt_name, "")
        return self.default if params.adapter is None else self.named.get(params.adapter, self.default)

    def before(self, prompt: Prompt, params: PoolingParams) -> Prompt:
        """A caller's prompt behind the one that is asked for.

        Raises:
            InvalidInputError: If one is asked for, and the caller's are token ids.
        """
        if prompt.text is not None:
            text = self.of(params)
            return replace(prompt, text=text + prompt.text) if text else prompt
        if params.prompt or params.prompt_name:
            given = "prompt" if params.prompt else "prompt_name"
            message = (
                f"{given}={getattr(params, given)!r} is put before text, and these are token ids: pass text, or ids "
                "that begin with those of the prompt"
            )
            raise InvalidInputError(message, parameter=given)
        return prompt

    def num_tokens(self, params: PoolingParams, *, special: bool = True) -> int:
        """How many tokens of a text are those of what is put before it, special tokens before it included.

        They are counted as sentence-transformers counts them: those of the prompt as a text of its own, without a
        special token at its end.
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
        message = f"prompt={text!a}: there is a lone surrogate at character {error.start}, which is no Unicode text"
        raise InvalidInputError(message, parameter="prompt") from None
