"""The IO processor of the classifying tasks: texts, pairs of texts or token ids to classes, of all or of each token."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from millpond.engine.request import PoolingRequest
from millpond.errors import InvalidInputError
from millpond.inputs import PairItem, Prompt
from millpond.params import PoolingParams
from millpond_io.cross_encoder import CrossEncoder
from millpond_io.late_interaction import INPUT_TYPE
from millpond_io.text import TextProcessor

FIRST, SECOND = "text", "text_pair"


class ClassifyProcessor(TextProcessor):
    """Text or token ids to probabilities or scores: one row a prompt, or one a token or step.

    A pair of texts, ``{"text": ..., "text_pair": ...}``, is read as one sequence, as a cross-encoder reads it.
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
        if not isinstance(data, Mapping) or SECOND not in data:
            return super().parse(data)
        if self.ctx.task_spec.per_token or set(data) != {FIRST, SECOND}:
            message = (
                f"a pair of texts is {{{FIRST!r}: str, {SECOND!r}: str}}, for the task 'classify'; got the keys "
                f"{sorted(map(str, data))} for {self.task!r}"
            )
            raise InvalidInputError(message, parameter="prompts")
        first, second = data[FIRST], data[SECOND]
        if not isinstance(first, str) or not isinstance(second, str):
            message = f"{FIRST} and {SECOND} must be str; got {type(first).__name__} and {type(second).__name__}"
            raise InvalidInputError(message, parameter="prompts")
        return self._pairs.parse(PairItem(first, second))

    def pre_process_many(
        self, items: Sequence[tuple[Prompt | PairItem, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of each prompt, and of each pair, all of a kind tokenised at once."""
        pairs = [(data, params) for data, params in items if isinstance(data, PairItem)]
        if not pairs:
            return super().pre_process_many([(data, own) for data, own in items if isinstance(data, Prompt)])
        prompts = iter(super().pre_process_many([(data, own) for data, own in items if isinstance(data, Prompt)]))
        joined = iter(self._pairs.pre_process_many(pairs))
        return [next(joined if isinstance(data, PairItem) else prompts) for data, _ in items]

    @cached_property
    def _pairs(self) -> CrossEncoder:
        """How a pair becomes one sequence."""
        return CrossEncoder(self.ctx, inner=self)
