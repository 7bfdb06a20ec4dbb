"""The IO processor of the classifying tasks: texts, pairs of texts or token ids to classes, of all or of each token."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby

from millpond.pipeline.io_processor import Asked, Call, Work
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import PairItem, Prompt
from millpond_io.scoring.cross_encoder import PairReader
from millpond_io.scoring.options import PairOptions
from millpond_io.text.processor import TextProcessor, TextWork, encode_valid

FIRST, SECOND = "text", "text_pair"
PAIR = 2  # texts
FORMS = f"a pair of texts is (str, str) or {{{FIRST!r}: str, {SECOND!r}: str}}"


class ClassifyProcessor(TextProcessor):
    """Text or token ids to probabilities or scores: one row a prompt, or one a token or step.

    A pair of texts, ``(first, second)`` or ``{"text": first, "text_pair": second}``, is read as one sequence.
    """

    def complete(self, asked: Asked) -> Asked:
        """Complete what is asked by the model's config, and check it against the task."""
        return self.completed(asked, supported=("use_activation",))

    def encode(self, call: Call) -> list[Work]:
        """Read and tokenise prompts and pairs, all of a kind at once."""
        return encode_valid(call.items, self._read, self._encode_read)

    def _read(self, data: object) -> Prompt | PairItem:
        """Check one prompt, or a pair of texts."""
        given = pair_of(data)
        if given is None:
            return self.read(data)
        first, second = given
        if second is None:
            return self.read(first)
        if self.per_token:
            message = f"{FORMS}, for the task 'classify'; {self.task!r} reads one text: pass the texts one by one"
            raise InvalidInputError(message, parameter="prompts")
        return PairItem(first, second)

    def _encode_read(self, prompts: Sequence[tuple[Prompt | PairItem, Asked]]) -> list[Work]:
        texts = [(data, asked) for data, asked in prompts if isinstance(data, Prompt)]
        works = iter(self.encode_prompts(texts) if texts else ())
        if len(texts) == len(prompts):
            return list(works)
        pairs = iter(self._of_pairs([(data, asked) for data, asked in prompts if isinstance(data, PairItem)]))
        return [next(pairs if isinstance(data, PairItem) else works) for data, _ in prompts]

    def _of_pairs(self, items: Sequence[tuple[PairItem, Asked]]) -> Iterator[Work]:
        for _, group in groupby(items, key=lambda item: id(item[1])):
            own = [*group]
            asked = own[0][1]
            for work in self._pairs.read([pair for pair, _ in own], asked.params, PairOptions()):
                yield work if work.error is not None else TextWork(sequences=work.sequences, asked=asked)

    @cached_property
    def _pairs(self) -> PairReader:
        """How a pair becomes one sequence: without a template, as the tokenizer of transformers joins two texts."""
        return PairReader(self.ctx, by_tokenizer=True)


def pair_of(data: object) -> tuple[str, str | None] | None:
    """The two texts of a pair, the second None where a mapping leaves it out; None for a prompt of another form.

    Raises:
        InvalidInputError: If it has the form of a pair, and holds something else than texts.
    """
    if isinstance(data, Mapping):
        if FIRST not in data and SECOND not in data:
            return None
        if not set(data) <= {FIRST, SECOND} or FIRST not in data:
            raise InvalidInputError(f"{FORMS}; got the keys {sorted(map(str, data))}", parameter="prompts")
        first, second = data[FIRST], data.get(SECOND)
    elif isinstance(data, list | tuple) and any(isinstance(item, str) for item in data):
        if len(data) != PAIR:
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
