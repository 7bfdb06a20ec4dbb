"""The IO processor of the classifying tasks: texts, pairs of texts or token ids to classes, of all or of each token."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from millpond.engine.request import PoolingRequest
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import PairItem, Prompt
from millpond_io.retrieval.late_interaction import INPUT_TYPE
from millpond_io.scoring.cross_encoder import PairReader
from millpond_io.scoring.options import PairOptions
from millpond_io.text.processor import TextProcessor

FIRST, SECOND = "text", "text_pair"
PAIR = 2  # texts
FORMS = f"a pair of texts is (str, str) or {{{FIRST!r}: str, {SECOND!r}: str}}"


class ClassifyProcessor(TextProcessor):
    """Text or token ids to probabilities or scores: one row a prompt, or one a token or step.

    A pair of texts, ``(first, second)`` or ``{"text": first, "text_pair": second}``, is read as one sequence.
    """

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed by the model's config and checked against the task."""
        kind = ((given and given.extra_kwargs) or {}).get(INPUT_TYPE)
        if kind is not None:
            message = f"{INPUT_TYPE}={kind!r} is for vectors; the task {self.task!r} reads all texts alike"
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        return self.completed(given, supported=("use_activation",))

    def parse(self, data: object) -> Prompt | PairItem:  # type: ignore[override]  # a pair is no prompt
        """Check one prompt, or a pair of texts."""
        given = pair_of(data)
        if given is None:
            return super().parse(data)
        first, second = given
        if second is None:
            return super().parse(first)
        if self.ctx.task_spec.per_token:
            message = f"{FORMS}, for the task 'classify'; {self.task!r} reads one text: pass the texts one by one"
            raise InvalidInputError(message, parameter="prompts")
        return PairItem(first, second)

    def pre_process_many(
        self, items: Sequence[tuple[Prompt | PairItem, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of each prompt, and of each pair, all of a kind tokenised at once."""
        prompts = [(data, own) for data, own in items if isinstance(data, Prompt)]
        made = iter(super().pre_process_many(prompts) if prompts else ())
        if len(prompts) == len(items):
            return [*made]
        pairs = iter(self._of_pairs([(data, own) for data, own in items if isinstance(data, PairItem)]))
        return [next(pairs if isinstance(data, PairItem) else made) for data, _ in items]

    def _of_pairs(self, items: Sequence[tuple[PairItem, PoolingParams]]) -> Iterator[Any]:
        for _, group in groupby(items, key=lambda item: id(item[1])):
            own = [*group]
            for work in self._pairs.read([pair for pair, _ in own], own[0][1], PairOptions()):
                yield work.error or [*work.sequences]

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
