"""Prompts of cross-encoders: the caller's template, the checkpoint's, its authors' wording, or a bare pair."""

from collections.abc import Mapping
from typing import Any

from millpond.context import TaskContext
from millpond.loading.chat_template import ChatTemplate
from millpond.loading.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.rerank_template import RerankTemplate
from millpond_io.chat.roles import RoleTemplate
from millpond_io.chat.templates import JinjaTemplate, read_template
from millpond_io.scoring.options import PairOptions, warn_of_templates
from millpond_io.scoring.pair_encoder import Limits, PairEncoder
from millpond_io.scoring.tokenizer_pairs import TokenizerPairs
from millpond_io.scoring.written_pairs import Special, Write, WrittenPairs

NOT_VARIABLES = ("prompt", "prompt_name", "restore_suffix")  # sentence-transformers' own, which no template sees
BARE = (
    "this model reads the query and the document without a template. chat_template, of the call or of the LLM, gives "
    "it one"
)


class PairTemplate:
    """A template of pairs: the caller's, or the checkpoint's own."""

    def __init__(
        self,
        ctx: TaskContext,
        tokenizer: Tokenizer,
        text: str,
        *,
        own: Mapping[str, Any] | None = None,
        structured: bool = False,
    ) -> None:
        """Read a template.

        Args:
            ctx: The model's context.
            tokenizer: Its tokenizer.
            text: The template.
            own: The settings that stand beside it, of the checkpoint's; None for another.
            structured: Whether contents are lists of parts, instead of texts.
        """
        self.ctx = ctx
        self.is_own = own is not None
        length = ctx.model.max_model_len
        self.roles = RoleTemplate(tokenizer, JinjaTemplate(text), length, own or {}, structured=structured)

    def writer(self, params: PoolingParams, options: PairOptions) -> Write:
        """Return what writes a pair: a message of the system, where there is an instruction or prompt, and of both."""
        own = {name: value for name, value in options.chat_template_kwargs.items() if name not in NOT_VARIABLES}
        instruction = _instruction(options)
        if instruction is not None:
            own.setdefault("instruction", instruction)
        system = _prompt(self.ctx, params, options, default=self.is_own)
        if instruction is not None and "instruction" not in self.roles.template.source:
            system = instruction

        def write(query: str, document: str) -> tuple[str, ...]:
            texts = {"system": system or None, "query": query, "document": document}
            return (self.roles.render(texts, own, max_text_chars=2 * (len(query) + len(document))),)

        return write


class PairPrompts:
    """The form in which a model reads pairs, chosen when it is loaded; a call may pass its own template.

    Attributes:
        template: The template that the model was loaded with, or the checkpoint's where its score is the logits of
            tokens, as sentence-transformers' LogitScore; None for neither.
        known: The wording of the model's authors, where it is known.
        is_unwritable: Whether the checkpoint's template leaves a role out.
        by_tokenizer: Whether the tokenizer joins the texts of every bare pair.
        segments: How many segments the model tells apart, where its tokenizer gives them; else 0.
    """

    def __init__(self, ctx: TaskContext, *, by_tokenizer: bool = False) -> None:
        self.ctx = ctx
        tokenizer, given = ctx.tokenizer, ctx.inputs.chat_template
        own = None
        if tokenizer is not None and ctx.config.get("classifier_from_token_ids"):
            own = tokenizer.chat_template
        self.known = ctx.model.prompting.rerank_template
        self.template: PairTemplate | None = None
        if tokenizer is not None and given is not None:
            self.template = PairTemplate(ctx, tokenizer, read_template(given))
        elif tokenizer is not None and own is not None:
            self.template = _own_template(ctx, tokenizer, own)
        self.is_unwritable = own is not None and self.template is None
        self.by_tokenizer = by_tokenizer or uses_separator(ctx)
        stated = ctx.config.get("type_vocab_size")
        gives = tokenizer is not None and tokenizer.returns_token_type_ids
        self.segments = stated if gives and isinstance(stated, int) else 0

    def warn_of(self, options: PairOptions) -> None:
        """Warn of what only a template would read, where there is none."""
        if not self.has_template(options):
            warn_of_templates(options, BARE)

    def has_template(self, options: PairOptions) -> bool:
        """Return whether a template or a known wording writes the pairs of a call."""
        written = options.chat_template is not None or self.template is not None or self.known is not None
        return written or self.is_unwritable

    def encoder(self, params: PoolingParams, options: PairOptions) -> PairEncoder:
        """Return what makes sequences of the pairs of a call.

        Raises:
            InvalidInputError: If a template, a prompt or a length that is asked for is not there or does not fit.
        """
        ctx, tokenizer = self.ctx, self.ctx.tokenizer
        if tokenizer is None:
            message = f"the model {ctx.model.model!r} has no tokenizer, and a score is asked for of texts"
            raise InvalidInputError(message, parameter="data_1")
        limits, template = Limits.of(params, options, ctx), self.template
        if options.chat_template is not None:
            template = PairTemplate(ctx, tokenizer, read_template(options.chat_template))
        if template is not None:
            special: Special = "none" if template.is_own else "once"
            return WrittenPairs(tokenizer, limits, template.writer(params, options), special=special)
        if self.known is not None:
            write = _known_writer(self.known, _instruction(options) or _prompt(ctx, params, options))
            return WrittenPairs(tokenizer, limits, write)
        if self.is_unwritable:
            message = (
                f"the chat template of {ctx.model.model!r} does not write both a message of the role 'query' and one "
                "of the role 'document'. chat_template, of the call or of the LLM, gives another"
            )
            raise InvalidInputError(message, parameter="chat_template")
        before = _prompt(ctx, params, options) or ""
        if self.by_tokenizer:
            return TokenizerPairs(tokenizer, limits, segments=self.segments, before=before)
        if limits.document:
            return WrittenPairs(tokenizer, limits, lambda query, document: (before + query, document))
        return WrittenPairs(tokenizer, limits, lambda query, document: (before + query + document,), special="all")


def uses_separator(ctx: TaskContext) -> bool:
    """Return whether a bare pair has special tokens in the middle: not for models that continue text."""
    for name in ("use_sep_token", "use_pad_token"):
        if isinstance(ctx.config.get(name), bool):
            return bool(ctx.config[name])
    entry = ctx.registry.architectures.find(ctx.model.architecture)
    return entry is None or "classify" in entry.spec.tasks or entry.spec.pooling.type != "LAST"


def _own_template(ctx: TaskContext, tokenizer: Tokenizer, own: ChatTemplate) -> PairTemplate | None:
    """Return the checkpoint's, with contents as text or as lists of parts; None if it leaves a role out."""
    for structured in (False, True):
        template = PairTemplate(ctx, tokenizer, own.text, own=own.settings, structured=structured)
        if _carries_both(template.writer(PoolingParams(), PairOptions())):
            return template
    return None


def _carries_both(write: Write) -> bool:
    """Return whether what is written changes with the query and with the document."""
    try:
        plain = write("a", "b")
        return write("c", "b") != plain and write("a", "c") != plain
    except InvalidInputError:
        return False


def _known_writer(known: RerankTemplate, instruction: str | None) -> Write:
    def write(query: str, document: str) -> tuple[str, ...]:
        if known.written_marker is not None and query.startswith(known.written_marker):
            return (query + document,)
        return known.filled(query, document, instruction)

    return write


def _instruction(options: PairOptions) -> str | None:
    """Return the instruction of a call; variables of the template take precedence over the option."""
    for name in ("instruction", "instruct"):
        value = options.chat_template_kwargs.get(name)
        if isinstance(value, str) and value:
            return value
    return options.instruction or None


def _prompt(ctx: TaskContext, params: PoolingParams, options: PairOptions, *, default: bool = False) -> str | None:
    """Return the prompt that a call names or contains; else the default of the checkpoint, if it is applied.

    Raises:
        InvalidInputError: If there is none of that name.
    """
    said = options.chat_template_kwargs.get("prompt")
    if said is not None and not isinstance(said, str):
        message = f"CrossEncoder prompt must be a string; got {type(said).__name__}"
        raise InvalidInputError(message, parameter="chat_template_kwargs")
    said = said if said is not None else params.prompt
    if said is not None:
        return said
    name = options.chat_template_kwargs.get("prompt_name") or params.prompt_name
    if name is None:
        applied = default or ctx.inputs.apply_default_prompt
        return ctx.model.prompting.prompts.get(ctx.model.prompting.default_name or "") if applied else None
    if not isinstance(name, str) or name not in ctx.model.prompting.prompts:
        there = ", ".join(map(repr, ctx.model.prompting.prompts)) or "none"
        message = f"Unknown saved CrossEncoder prompt {name!r}; there are: {there}"
        raise InvalidInputError(message, parameter="prompt_name")
    return ctx.model.prompting.prompts[name]
