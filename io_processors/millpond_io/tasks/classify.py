"""IO processor of the classification tasks: texts, pairs of texts or token ids to class scores."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import PairItem
from millpond_io.scoring.cross_encoder import PairReader
from millpond_io.scoring.options import PairOptions
from millpond_io.text.processor import TextProcessor
from millpond_text.prompt import Prompt, TextJob

FIRST, SECOND = "text", "text_pair"
PAIR_LENGTH = 2
FORMS = f"a pair of texts is (str, str) or {{{FIRST!r}: str, {SECOND!r}: str}}"


class ClassifyProcessor(TextProcessor):
    """Converts texts or token ids to probabilities or scores: one row per prompt, or per token or step.

    A pair of texts, ``(first, second)`` or ``{"text": first, "text_pair": second}``, becomes one sequence.
    """

    def complete(self, call: Call) -> Call:
        """Validate the parameters, and fill in defaults of the model's config."""
        return self.completed(call, supported=("use_activation",))

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize prompts and pairs: all prompts at once, all pairs at once."""
        return self.encode_read(call, self._read, self._encode_read)

    def _read(self, data: object) -> Prompt | PairItem:
        """Validate one prompt or pair of texts."""
        pair = pair_of(data)
        if pair is None:
            return self.read(data)
        first, second = pair
        if second is None:
            return self.read(first)
        if self.per_token:
            message = f"{FORMS}, for the task 'classify'; {self.task!r} reads single texts: pass them separately"
            raise InvalidInputError(message, parameter="prompts")
        return PairItem(first, second)

    def _encode_read(self, prompts: Sequence[Prompt | PairItem], call: Call) -> list[Job]:
        texts = [prompt for prompt in prompts if isinstance(prompt, Prompt)]
        jobs = iter(self.encode_prompts(texts, call) if texts else ())
        if len(texts) == len(prompts):
            return list(jobs)
        pairs = iter(self._encode_pairs([prompt for prompt in prompts if isinstance(prompt, PairItem)], call))
        return [next(pairs if isinstance(prompt, PairItem) else jobs) for prompt in prompts]

    def _encode_pairs(self, pairs: Sequence[PairItem], call: Call) -> Iterator[Job]:
        for job in self._pair_reader.read(pairs, call.params, PairOptions()):
            yield job if job.error is not None else TextJob(sequences=job.sequences, call=call)

    @cached_property
    def _pair_reader(self) -> PairReader:
        """Converts a pair to one sequence without a template, like a tokenizer of transformers."""
        return PairReader(self.ctx, by_tokenizer=True)


def pair_of(data: object) -> tuple[str, str | None] | None:
    """Return the two texts of a pair, the second None if a mapping omits it; None for any other prompt.

    Raises:
        InvalidInputError: If the pair is incomplete or contains other values than texts.
    """
    if isinstance(data, Mapping):
        if FIRST not in data and SECOND not in data:
            return None
        if not set(data) <= {FIRST, SECOND} or FIRST not in data:
            raise InvalidInputError(f"{FORMS}; got the keys {sorted(map(str, data))}", parameter="prompts")
        first, second = data[FIRST], data.get(SECOND)
    elif isinstance(data, list | tuple) and any(isinstance(item, str) for item in data):
        if len(data) != PAIR_LENGTH:
            raise InvalidInputError(f"{FORMS}; got {len(data)} items", parameter="prompts")
        first, second = data
        if second is None:
            raise InvalidInputError(f"{FORMS}; got str and NoneType", parameter="prompts")
    else:
        return None
    if not isinstance(first, str) or not isinstance(second, str | None):
        message = f"{FIRST} and {SECOND} must be str; got {type(first).__name__} and {type(second).__name__}"
        raise InvalidInputError(message, parameter="prompts")
    return first, second
