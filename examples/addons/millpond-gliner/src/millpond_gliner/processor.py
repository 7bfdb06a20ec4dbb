"""The IO processor of the task gliner: a text and labels in, entities out."""

import re
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding

from millpond import IOProcessor, PoolingParams
from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from millpond_gliner.decoding import Candidate, select
from millpond_gliner.head import LABELS, NO_TOKEN, WORDS, spans_of
from millpond_gliner.task import FoundEntities, FoundEntity, GlinerOptions

WORD = re.compile(r"\w+(?:[-_]\w+)*|\S")  # words, with hyphens inside, and single marks, as in training
DEFAULT_MAX_WORDS = 384
MAX_SHOWN_CHARS = 40


@dataclass(eq=False, kw_only=True, slots=True)
class GlinerJob(Job):
    """The sequence of a text with its labels.

    Attributes:
        text: The text.
        words: The first character of each word, and the one after the last.
        options: The options of the call; each label is in them once.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    options: GlinerOptions


class GlinerProcessor(IOProcessor[FoundEntities]):
    """Reads labels and words as one sequence, and selects spans by their scores."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        settings = ctx.config.gliner
        self.label_token = str(settings.get("ent_token") or "<<ENT>>")
        self.separator = str(settings.get("sep_token") or "<<SEP>>")
        self.label_offset = 0 if settings.get("embed_ent_token", True) else 1
        self.max_width, self.max_words = settings.max_width, settings.get("max_len") or DEFAULT_MAX_WORDS

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Refuse other models, and models without a tokenizer."""
        if "gliner" not in ctx.config:
            return "the task 'gliner' is for models of GLiNER"
        return None if ctx.tokenizer is not None else "the task 'gliner' requires a tokenizer, and this model has none"

    def encode(self, call: Call) -> list[Job]:
        """Return the job for each text."""
        return [self._job(data, call) for data in call.prompts]

    def decode(self, job: Job) -> FoundEntities:
        """Return the entities of a text."""
        assert isinstance(job, GlinerJob)
        if not job.sequences:
            return FoundEntities(())
        scores = 1 / (1 + np.exp(-job.sequences[0].results[0].astype(np.float64)))
        spans = spans_of(len(job.words), self.max_width)
        candidates = [
            Candidate(spans[span][0], spans[span][1], int(label), float(scores[span, label]))
            for span, label in np.argwhere(scores > job.options.threshold)
        ]
        selected = select(candidates, flat=job.options.flat, multi_label=job.options.multi_label)
        return FoundEntities(tuple(self._entity(job, it) for it in selected))

    def _entity(self, job: GlinerJob, it: Candidate) -> FoundEntity:
        start, end = job.words[it.first][0], job.words[it.last][1]
        return FoundEntity(
            text=job.text[start:end], label=job.options.labels[it.label], score=it.score, start=start, end=end
        )

    def _job(self, data: object, call: Call) -> Job:
        options = call.options
        if not isinstance(data, str):
            return _invalid("the task 'gliner' accepts only texts", "prompts")
        if not options.labels:
            return _invalid("the task 'gliner' requires labels, such as labels=['person', 'city']", "labels")
        for value, parameter in ((data, "prompts"), *((label, "labels") for label in options.labels)):
            if not _is_unicode(value):
                return _invalid(f"{value[:MAX_SHOWN_CHARS]!a} is not valid Unicode text", parameter)
        options = options.model_copy(update={"labels": tuple(dict.fromkeys(options.labels))})
        words = tuple(match.span() for match in WORD.finditer(data))
        if not words:
            return GlinerJob(text=data, words=(), options=options)
        if len(words) > self.max_words:
            return _invalid(f"the text has {len(words)} words; the model's maximum is {self.max_words}", "prompts")
        return self._sequence_job(data, words, options)

    def _sequence_job(self, text: str, words: tuple[tuple[int, int], ...], options: GlinerOptions) -> Job:
        prefix = [part for label in options.labels for part in (self.label_token, label)] + [self.separator]
        assert self.ctx.tokenizer is not None
        encoding = self.ctx.tokenizer.backend.encode(
            [*prefix, *(text[start:end] for start, end in words)], is_pretokenized=True
        )
        limit = self.ctx.model.max_model_len
        if len(encoding.ids) > limit:
            message = f"the text with its labels has {len(encoding.ids)} tokens; the model's maximum is {limit}"
            return _invalid(message, "prompts")
        positions: dict[str, object] = {
            LABELS: [index + self.label_offset for index in _first_tokens(encoding, range(0, len(prefix) - 1, 2))],
            WORDS: _first_tokens(encoding, range(len(prefix), len(prefix) + len(words))),
        }
        sequence = PoolingRequest(
            input_ids=np.asarray(encoding.ids, dtype=np.int64),
            representations=(Representation("gliner", PoolingParams(extra_kwargs=positions)),),
        )
        return GlinerJob(sequences=(sequence,), text=text, words=words, options=options)


def _first_tokens(encoding: Encoding, words: range) -> list[int]:
    """Return the first token of each word."""
    first: dict[int, int] = {}
    for index, word in enumerate(encoding.word_ids):
        if word is not None:
            first.setdefault(word, index)
    return [first.get(word, NO_TOKEN) for word in words]


def _is_unicode(text: str) -> bool:
    """Return False for a text with lone surrogates, which no tokenizer accepts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(message: str, parameter: str) -> Job:
    return Job(error=InvalidInputError(message, parameter=parameter))
