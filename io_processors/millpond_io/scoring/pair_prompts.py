"""PairPrompts: the prompt format of cross-encoders, from a template, published prompts, or a plain pair."""

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
from millpond_io.scoring.rendered_pairs import Render, RenderedPairs, SpecialTokens
from millpond_io.scoring.tokenizer_pairs import TokenizerPairs

LIBRARY_SETTINGS = ("prompt", "prompt_name", "restore_suffix")  # of sentence-transformers; not template variables
NO_TEMPLATE = "this model has no template for pairs. Pass chat_template to the call or to LLM"


class PairTemplate:
    """A template of pairs, from the caller or the checkpoint."""

    def __init__(
        self,
        ctx: TaskContext,
        tokenizer: Tokenizer,
        text: str,
        *,
        settings: Mapping[str, Any] | None = None,
        structured: bool = False,
    ) -> None:
        """Initialize a template.

        Args:
            ctx: The context of the model.
            tokenizer: The tokenizer of the model.
            text: The text of the template.
            settings: The settings of the checkpoint's template; None for a template of the caller.
            structured: True if contents are lists of parts instead of texts.
        """
        self.ctx = ctx
        self.from_checkpoint = settings is not None
        length = ctx.model.max_model_len
        self.roles = RoleTemplate(tokenizer, JinjaTemplate(text), length, settings or {}, structured=structured)

    def renderer(self, params: PoolingParams, options: PairOptions) -> Render:
        """Return a function that renders a pair, with the instruction or prompt of the call as system message."""
        kwargs = options.chat_template_kwargs
        variables = {name: value for name, value in kwargs.items() if name not in LIBRARY_SETTINGS}
        instruction = _instruction(options)
        if instruction is not None:
            variables.setdefault("instruction", instruction)
        system = _prompt(self.ctx, params, options, default=self.from_checkpoint)
        if instruction is not None and "instruction" not in self.roles.template.source:
            system = instruction

        def render(query: str, document: str) -> tuple[str, ...]:
            texts = {"system": system or None, "query": query, "document": document}
            return (self.roles.render(texts, variables, max_text_chars=2 * (len(query) + len(document))),)

        return render


class PairPrompts:
    """The prompt format of pairs, determined when a model is loaded; a call may pass its own template.

    Attributes:
        template: The template that the model was loaded with; else the checkpoint's template if the score is computed
            from logits of tokens, like LogitScore of sentence-transformers; None for neither.
        published: The prompts that the authors of the model published, if any.
        is_unusable: True if the checkpoint's template does not write both roles.
        by_tokenizer: True if the tokenizer joins the texts of pairs without a template.
        segments: The number of segments that the model distinguishes; 0 if its tokenizer does not return them.
    """

    def __init__(self, ctx: TaskContext, *, by_tokenizer: bool = False) -> None:
        self.ctx = ctx
        tokenizer = ctx.tokenizer
        checkpoint_template = None
        if tokenizer is not None and ctx.config.get("classifier_from_token_ids"):
            checkpoint_template = tokenizer.chat_template
        self.published = ctx.model.prompting.rerank_template
        self.template: PairTemplate | None = None
        if tokenizer is not None and ctx.inputs.chat_template is not None:
            self.template = PairTemplate(ctx, tokenizer, read_template(ctx.inputs.chat_template))
        elif tokenizer is not None and checkpoint_template is not None:
            self.template = _checkpoint_template(ctx, tokenizer, checkpoint_template)
        self.is_unusable = checkpoint_template is not None and self.template is None
        self.by_tokenizer = by_tokenizer or uses_separator(ctx)
        num_segments = ctx.config.get("type_vocab_size")
        has_segments = tokenizer is not None and tokenizer.returns_token_type_ids
        self.segments = num_segments if has_segments and isinstance(num_segments, int) else 0

    def warn_of(self, options: PairOptions) -> None:
        """Warn about options for templates if there is no template."""
        if not self.has_template(options):
            warn_of_templates(options, NO_TEMPLATE)

    def has_template(self, options: PairOptions) -> bool:
        """Return True if the pairs of a call are rendered with a template or published prompts."""
        is_rendered = options.chat_template is not None or self.template is not None or self.published is not None
        return is_rendered or self.is_unusable

    def encoder(self, params: PoolingParams, options: PairOptions) -> PairEncoder:
        """Return the encoder for the pairs of a call.

        Raises:
            InvalidInputError: If the template, the prompt or the truncation is invalid.
        """
        ctx, tokenizer = self.ctx, self.ctx.tokenizer
        if tokenizer is None:
            message = f"the model {ctx.model.model!r} has no tokenizer, which scoring of texts requires"
            raise InvalidInputError(message, parameter="data_1")
        limits, template = Limits.of(params, options, ctx), self.template
        if options.chat_template is not None:
            template = PairTemplate(ctx, tokenizer, read_template(options.chat_template))
        if template is not None:
            special: SpecialTokens = "none" if template.from_checkpoint else "once"
            return RenderedPairs(tokenizer, limits, template.renderer(params, options), special=special)
        if self.published is not None:
            render = _published_renderer(self.published, _instruction(options) or _prompt(ctx, params, options))
            return RenderedPairs(tokenizer, limits, render)
        if self.is_unusable:
            message = (
                f"the chat template of {ctx.model.model!r} does not write messages of both roles, 'query' and "
                "'document'. Pass chat_template to the call or to LLM"
            )
            raise InvalidInputError(message, parameter="chat_template")
        prompt = _prompt(ctx, params, options) or ""
        if self.by_tokenizer:
            return TokenizerPairs(tokenizer, limits, segments=self.segments, prompt=prompt)
        if limits.document:
            return RenderedPairs(tokenizer, limits, lambda query, document: (prompt + query, document))
        return RenderedPairs(tokenizer, limits, lambda query, document: (prompt + query + document,), special="all")


def uses_separator(ctx: TaskContext) -> bool:
    """Return True if plain pairs have special tokens between the texts: not for causal language models."""
    for name in ("use_sep_token", "use_pad_token"):
        if isinstance(ctx.config.get(name), bool):
            return bool(ctx.config[name])
    entry = ctx.registry.architectures.find(ctx.model.architecture)
    return entry is None or "classify" in entry.spec.tasks or entry.spec.pooling.type != "LAST"


def _checkpoint_template(ctx: TaskContext, tokenizer: Tokenizer, template: ChatTemplate) -> PairTemplate | None:
    """Return the checkpoint's template, with contents as texts or lists of parts; None if it does not write both."""
    for structured in (False, True):
        pair_template = PairTemplate(ctx, tokenizer, template.text, settings=template.settings, structured=structured)
        if _writes_both(pair_template.renderer(PoolingParams(), PairOptions())):
            return pair_template
    return None


def _writes_both(render: Render) -> bool:
    """Return True if the text depends on both the query and the document."""
    try:
        text = render("a", "b")
        return render("c", "b") != text and render("a", "c") != text
    except InvalidInputError:
        return False


def _published_renderer(template: RerankTemplate, instruction: str | None) -> Render:
    def render(query: str, document: str) -> tuple[str, ...]:
        if template.written_marker is not None and query.startswith(template.written_marker):
            return (query + document,)
        return template.filled(query, document, instruction)

    return render


def _instruction(options: PairOptions) -> str | None:
    """Return the instruction of a call; variables of the template take precedence over the option."""
    for name in ("instruction", "instruct"):
        value = options.chat_template_kwargs.get(name)
        if isinstance(value, str) and value:
            return value
    return options.instruction or None


def _prompt(ctx: TaskContext, params: PoolingParams, options: PairOptions, *, default: bool = False) -> str | None:
    """Return the prompt of a call, by text or name; else the default prompt of the checkpoint, if it is applied.

    Raises:
        InvalidInputError: If the name is unknown.
    """
    prompt = options.chat_template_kwargs.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        message = f"CrossEncoder prompt must be a string; got {type(prompt).__name__}"
        raise InvalidInputError(message, parameter="chat_template_kwargs")
    prompt = prompt if prompt is not None else params.prompt
    if prompt is not None:
        return prompt
    name = options.chat_template_kwargs.get("prompt_name") or params.prompt_name
    if name is None:
        applied = default or ctx.inputs.apply_default_prompt
        return ctx.model.prompting.prompts.get(ctx.model.prompting.default_name or "") if applied else None
    if not isinstance(name, str) or name not in ctx.model.prompting.prompts:
        available = ", ".join(map(repr, ctx.model.prompting.prompts)) or "none"
        message = f"Unknown saved CrossEncoder prompt {name!r}. Available: {available}"
        raise InvalidInputError(message, parameter="prompt_name")
    return ctx.model.prompting.prompts[name]
