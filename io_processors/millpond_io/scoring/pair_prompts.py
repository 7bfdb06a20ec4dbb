"""PairPrompts: the prompt format of cross-encoders, from a template, published prompts, or a plain pair."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from millpond.context import TaskContext
from millpond.model.spec import ChatTemplate
from millpond.model.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import ImagePart
from millpond.types.rerank_template import RerankTemplate
from millpond_io.chat.roles import Records, RoleTemplate
from millpond_io.chat.templates import JinjaTemplate, read_template
from millpond_io.images.parts import Parts, has_placeholders, images_of, part_records
from millpond_io.scoring.options import PairOptions, warn_of_templates
from millpond_io.scoring.pair_encoder import Limits, PairEncoder
from millpond_io.scoring.rendered_pairs import Render, RenderedPairs, RenderParts, SpecialTokens
from millpond_io.scoring.tokenizer_pairs import TokenizerPairs
from millpond_modeling.images import ImageReader

INSTRUCTION, PROBE = "instruction", "Probe"
LIBRARY_SETTINGS = ("prompt", "prompt_name", "restore_suffix")  # of sentence-transformers; not template variables
NO_TEMPLATE = "this model has no template for pairs. Pass chat_template to the call or to LLM"


class PairTemplate:
    """A template of pairs, from the caller or the checkpoint.

    Attributes:
        from_checkpoint: True if the template is the checkpoint's.
        roles: The template with the variables of all calls.
        reader: The image reader, if the template writes the placeholders of images; else None.
    """

    def __init__(
        self,
        ctx: TaskContext,
        tokenizer: Tokenizer,
        text: str,
        *,
        settings: Mapping[str, Any] | None = None,
        structured: bool = False,
        reader: ImageReader | None = None,
    ) -> None:
        """Initialize a template.

        Args:
            ctx: The context of the model.
            tokenizer: The tokenizer of the model.
            text: The text of the template.
            settings: The settings of the checkpoint's template; None for a template of the caller.
            structured: True if contents are lists of parts instead of texts.
            reader: The image reader, to pass images as parts; None to pass only texts.
        """
        self.ctx = ctx
        self.reader = reader
        self.from_checkpoint = settings is not None
        length = ctx.model.max_model_len
        self.roles = RoleTemplate(tokenizer, JinjaTemplate(text), length, settings or {}, structured=structured)

    @cached_property
    def reads_instruction(self) -> bool:
        """True if the template reads the variable ``instruction``; its text may also contain the word."""
        if INSTRUCTION not in self.roles.template.source:
            return False
        try:
            return PROBE in self._render({"query": "a", "document": "b"}, {INSTRUCTION: PROBE}, 0)
        except InvalidInputError:
            return True

    @cached_property
    def begins_with_document(self) -> bool:
        """True if the template writes the document before the query."""
        text = self._render({"query": "\ue000", "document": "\ue001"}, {}, 0)
        return text.find("\ue001") < text.find("\ue000")

    def writes_both(self) -> bool:
        """Return True if the text depends on both the query and the document, and on images if there is a reader."""
        params, options, images = PoolingParams(), PairOptions(), (ImagePart(None),)
        render, render_parts = self.renderer(params, options), self.parts_renderer(params, options)
        try:
            text = render("a", "b")
            is_written = render("c", "b") != text and render("a", "c") != text
            if self.reader is None or render_parts is None or not is_written:
                return is_written
            return all(
                self.reader.mark.search(text) for text, _ in (render_parts(images, ["b"]), render_parts(["a"], images))
            )
        except InvalidInputError:
            return False

    def renderer(self, params: PoolingParams, options: PairOptions) -> Render:
        """Return a function that renders a pair of texts, with the instruction or prompt of the call."""
        system, variables = self._of_call(params, options)

        def render(query: str, document: str) -> tuple[str, ...]:
            texts = {"system": system, "query": query, "document": document}
            return (self._render(texts, variables, 2 * (len(query) + len(document))),)

        return render

    def parts_renderer(self, params: PoolingParams, options: PairOptions) -> RenderParts | None:
        """Return a function that renders a pair with images; None if the template does not write them."""
        if self.reader is None:
            return None
        reader, (system, variables) = self.reader, self._of_call(params, options)

        def render(query: Parts, document: Parts) -> tuple[str, list[object]]:
            contents: dict[str, str | Records | None] = {"system": system}
            for role, parts in (("query", query), ("document", document)):
                contents[role] = part_records(parts, with_images=not has_placeholders(parts, reader))
            length = sum(len(part) for part in (*query, *document) if isinstance(part, str))
            text = self._render(contents, variables, 2 * length)
            images = [images_of(query), images_of(document)]
            if all(images) and self.begins_with_document:
                images.reverse()
            return text, [*images[0], *images[1]]

        return render

    def _render(self, contents: Mapping[str, str | Records | None], variables: Mapping[str, Any], chars: int) -> str:
        return self.roles.render(contents, variables, max_text_chars=chars)

    def _of_call(self, params: PoolingParams, options: PairOptions) -> tuple[str | None, dict[str, Any]]:
        """Return the system message and the variables of a call."""
        kwargs = options.chat_template_kwargs
        variables = {name: value for name, value in kwargs.items() if name not in LIBRARY_SETTINGS}
        instruction = _instruction(options)
        if instruction is not None:
            variables.setdefault(INSTRUCTION, instruction)
        system = _prompt(self.ctx, params, options, default=self.from_checkpoint)
        if instruction is not None and not self.reads_instruction:
            system = instruction
        return system or None, variables


class PairPrompts:
    """The prompt format of pairs, determined when a model is loaded; a call may pass its own template.

    Attributes:
        reader: The image reader of the model; None if it reads no pairs with images.
        template: The template that the model was loaded with; else the checkpoint's template of pairs, which is its
            chat template if the score is computed from logits of tokens, like LogitScore of sentence-transformers;
            None for neither.
        published: The prompts that the authors of the model published, if any.
        is_unusable: True if the checkpoint's template does not write both roles.
        by_tokenizer: True if the tokenizer joins the texts of pairs without a template.
        segments: The number of segments that the model distinguishes; 0 if its tokenizer does not return them.
    """

    def __init__(self, ctx: TaskContext, *, by_tokenizer: bool = False, reader: ImageReader | None = None) -> None:
        self.ctx = ctx
        self.reader = reader
        tokenizer = ctx.tokenizer
        checkpoint_template = None if tokenizer is None else tokenizer.pair_template
        is_of_messages = tokenizer is not None and checkpoint_template == tokenizer.chat_template
        if is_of_messages and not ctx.config.get("classifier_from_token_ids"):
            checkpoint_template = None
        self.published = ctx.model.prompting.rerank_template
        self.template: PairTemplate | None = None
        if tokenizer is not None and ctx.inputs.chat_template is not None:
            self.template = self._of_caller(tokenizer, ctx.inputs.chat_template)
        elif tokenizer is not None and checkpoint_template is not None:
            formats = self._in_formats(tokenizer, checkpoint_template.text, checkpoint_template.settings)
            self.template = next((template for template in formats if template.writes_both()), None)
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
            template = self._of_caller(tokenizer, options.chat_template)
        if template is not None:
            special: SpecialTokens = "none" if template.from_checkpoint else "once"
            render, render_parts = template.renderer(params, options), template.parts_renderer(params, options)
            return RenderedPairs(tokenizer, limits, render, special=special, render_parts=render_parts)
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

    def _of_caller(self, tokenizer: Tokenizer, text_or_path: str) -> PairTemplate:
        """Return the template of a caller; contents are texts unless it reads lists of parts."""
        text = read_template(text_or_path)
        if not ChatTemplate(text=text).reads_parts:
            return PairTemplate(self.ctx, tokenizer, text)
        formats = [*self._in_formats(tokenizer, text)]
        return next((template for template in formats if template.writes_both()), formats[-2])

    def _in_formats(
        self, tokenizer: Tokenizer, text: str, settings: Mapping[str, Any] | None = None
    ) -> Iterator[PairTemplate]:
        """Yield a template with contents as lists of texts and images, as texts, and as lists of texts."""
        if self.reader is not None:
            yield PairTemplate(self.ctx, tokenizer, text, settings=settings, structured=True, reader=self.reader)
        for structured in (False, True):
            yield PairTemplate(self.ctx, tokenizer, text, settings=settings, structured=structured)


def uses_separator(ctx: TaskContext) -> bool:
    """Return True if plain pairs have special tokens between the texts: not for causal language models."""
    for name in ("use_sep_token", "use_pad_token"):
        if isinstance(ctx.config.get(name), bool):
            return bool(ctx.config[name])
    entry = ctx.registry.architectures.find(ctx.model.architecture)
    return entry is None or "classify" in entry.spec.tasks or entry.spec.pooling.type != "LAST"


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
