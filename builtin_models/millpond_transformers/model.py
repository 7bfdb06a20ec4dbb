"""TransformersModel: a class of transformers as a pooling model; padded inside, packed outside."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from inspect import signature
from itertools import repeat
from threading import Lock
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel
from millpond.nn.weight_loading import LoadedWeights, load_parameter
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_transformers.classes import build_config, find_class
from millpond_transformers.images import INPUTS
from millpond_transformers.padding import Padding, group
from millpond_transformers.weights import load_body

logger = logging.getLogger(__name__)
FEWEST_TOKENS = 256  # of a vocabulary that config.json says nothing of, such as one of bytes
# Rotations that are made anew for the longest text of a batch: they are kept, and a batch's mates change them.
STRETCHING = ("dynamic", "longrope")


class TransformersModel(PoolingModel):
    """The hidden states of a class of transformers, for whatever task stands on them.

    Attributes:
        ignored_weights: Names of tensors that are left out on purpose: heads, and buffers that old files hold.
        ignored_missing: Names of parameters that a checkpoint may lack, for nothing here is computed with them.
    """

    ignored_weights: ClassVar[Sequence[str]] = (
        r"(?:\w+\.)?(?:lm_head|embed_out|score|classifier|pre_classifier|qa_outputs|cls|pooler|v_head|logits_proj)\..*",
        r"(?:\w+\.)?(?:sequence_summary|lm_loss|pred_layer|predictions|sop_classifier|vocab_\w+)\..*",
        r"(?:discriminator|generator)_(?:predictions|lm_head)\..*",
        r"(?:.*\.)?(?:position_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)",
    )
    ignored_missing: ClassVar[Sequence[str]] = (r"(?:.*\.)?pooler\..*",)
    counted: ClassVar[re.Pattern[str]] = re.compile(r"(?:.*\.)?position_ids")  # classes make them, and files may not
    hidden_alone: ClassVar[bool] = True  # whether nothing but hidden states is computed by the class

    def __init__(self, ctx: Context) -> None:
        if ctx.quantization is not None:
            message = (
                f"quantization={ctx.quantization!r}: {ctx.model.architecture} is run by the class of transformers, "
                "which is not quantised here"
            )
            raise InvalidInputError(message, parameter="quantization")
        super().__init__(ctx)
        self.body_class = find_class(ctx.model.architecture)
        self.body: PreTrainedModel | None = None
        self.padding = Padding()
        self._turn: AbstractContextManager[Any] = nullcontext()

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Build the class, and give it and what converters added their values."""
        result, ctx = LoadedWeights(), self.ctx
        state: dict[str, Tensor] = {}
        for name, tensor in weights:
            target = self.parameter_name(name)
            if target is None:
                continue
            if load_parameter(self, target, tensor, dtype=ctx.dtype, device=ctx.device, name=name):
                result.names.add(target)
            else:
                state[name] = tensor
        config = build_config(
            self.body_class, ctx.config, 0 if self.hidden_alone else ctx.model.classification.num_labels
        )
        loaded = load_body(self.body_class, config, state, dtype=ctx.dtype, headless=self.hidden_alone)
        result.unused += loaded.unused
        result.missing += [name for name in loaded.missing if not self._may_be_missing(name)]
        if result.unused or result.missing:
            return result
        loaded.body.to(ctx.device)  # type: ignore[arg-type]
        self.body = loaded.body
        self._turn = Lock() if _stretches(ctx.config) else nullcontext()
        self.padding = self._find_padding()
        return result

    def get_parameter(self, target: str) -> torch.nn.Parameter:
        """A parameter by its name, the table of tokens of the class also by that in the checkpoint."""
        try:
            return super().get_parameter(target)
        except AttributeError:
            return self.base.get_input_embeddings().weight  # type: ignore[return-value]

    @property
    def base(self) -> PreTrainedModel:
        """The class without its head.

        Raises:
            CheckpointError: If it cannot be told apart.
        """
        assert self.body is not None, "the weights are not loaded"  # noqa: S101
        return self.body if self.hidden_alone else self.body.base_model  # type: ignore[return-value]

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        sequences = batch.input_ids.split(batch.lengths)
        segments = None if batch.token_type_ids is None else batch.token_type_ids.split(batch.lengths)
        seen = [length - hidden for length, hidden in zip(batch.lengths, batch.num_masked or repeat(0), strict=False)]
        rows: list[Tensor] = [batch.input_ids] * batch.num_seqs
        sees = [INPUTS in features for features in batch.features] or [False] * batch.num_seqs
        for place in (place for place in range(batch.num_seqs) if sees[place]):
            rows[place] = self._seeing(sequences[place], batch.features[place][INPUTS])  # type: ignore[arg-type]
        texts = [place for place in range(batch.num_seqs) if not sees[place]]
        for chosen in group([batch.lengths[place] for place in texts], self.padding):
            places = [texts[number] for number in chosen]
            hidden = self._hidden(
                [sequences[place] for place in places],
                None if segments is None else [segments[place] for place in places],
                [seen[place] for place in places],
            )
            for number, place in enumerate(places):
                rows[place] = hidden[number, : batch.lengths[place]]
        return torch.cat(rows)

    def _seeing(self, ids: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """A text with images, alone, as how many values there are of an image depends on its shape.

        Args:
            ids: Its tokens, [num_tokens].
            inputs: The further arguments of the class, as its processor made them.
        """
        given = {"input_ids": ids.unsqueeze(0), "attention_mask": torch.ones_like(ids).unsqueeze(0)}
        for name, value in inputs.items():
            tensor = torch.from_numpy(value).to(ids.device)
            given[name] = tensor.to(self.ctx.dtype) if tensor.is_floating_point() else tensor
        return self.run(given)[0]

    def run(self, given: dict[str, Tensor]) -> Tensor:
        """The class's arguments -> what it gives for tokens, [num_seqs, num_tokens, hidden]."""
        with self._turn:
            found = self.base(**given, return_dict=True)
        return self.rows_of(found)

    @staticmethod
    def rows_of(found: Any) -> Tensor:
        """What a class gave for tokens, [num_seqs, num_tokens, hidden]."""
        hidden: Tensor = found.last_hidden_state if "last_hidden_state" in found else found[0]
        return hidden

    def _hidden(self, ids: Sequence[Tensor], segments: Sequence[Tensor] | None, seen: Sequence[int]) -> Tensor:
        """Sequences -> [num_seqs, length of the longest, hidden]."""
        padded = pad_sequence(list(ids), batch_first=True, padding_value=self.pad_id)
        given: dict[str, Tensor] = {"input_ids": padded}
        if "attention_mask" in self.padding.takes:
            places = torch.arange(padded.shape[1], device=padded.device)
            given["attention_mask"] = (places < torch.tensor(seen, device=padded.device).unsqueeze(1)).long()
        if segments is not None and "token_type_ids" in self.padding.takes:
            given["token_type_ids"] = pad_sequence(list(segments), batch_first=True)
        return self.run(given)

    @property
    def pad_id(self) -> int:
        """What stands where a sequence has ended; it is not read."""
        stated = self.ctx.config.get("pad_token_id")
        return stated if isinstance(stated, int) and 0 <= stated < self._vocabulary else 0

    @property
    def _vocabulary(self) -> int:
        """How many tokens there are, as config.json says it."""
        for key in ("vocab_size", "n_words"):
            size = getattr(self.base.config.get_text_config(), key, None)
            if isinstance(size, int):
                return size
        return FEWEST_TOKENS

    def _may_be_missing(self, name: str) -> bool:
        if self.counted.fullmatch(name):
            return True
        return self.hidden_alone and any(re.fullmatch(pattern, name) for pattern in self.ignored_missing)

    @torch.inference_mode()
    def _find_padding(self) -> Padding:
        """Try the class: whether texts may be padded without another result, and whether it attends as it is told.

        Raises:
            CheckpointError: If it does not give a row for each token, or is to attend in both directions and does not.
        """
        takes = frozenset(signature(self.base.forward).parameters)
        exact = Padding(takes=takes, alone=self.ctx.batch_invariant)
        self.padding = exact
        short, long = self._tokens(5), self._tokens(14)
        try:
            one, other = (self._hidden([ids], None, [len(ids)]) for ids in (short, long))
        except Exception as error:  # what a class wants beside tokens is the library's business
            reason = " ".join(str(error).split())
            message = f"transformers' {self.body_class.__name__} does not read tokens alone: {reason}"
            raise CheckpointError(message) from error
        if one.shape[1] != len(short) or other.shape[1] != len(long):
            message = (
                f"transformers' {self.body_class.__name__} gave {one.shape[1]} rows for {len(short)} tokens: it must "
                "give one for each"
            )
            raise CheckpointError(message)
        self._check_direction(long, other)
        if exact.alone or _stretches(self.ctx.config) or "attention_mask" not in takes:
            return exact
        both = self._hidden([long, short], None, [len(long), len(short)])
        padded = torch.cat([both[0], both[1, : len(short)]])
        if not _near(padded, torch.cat([other[0], one[0]])):
            logger.info("%s: padding changes its results, so only texts of one length share a batch", self.body_class)
            return exact
        return replace(exact, allowed=True)

    def _check_direction(self, ids: Tensor, hidden: Tensor) -> None:
        if self.ctx.config.get("is_causal") is not False:
            return
        changed = torch.cat([ids[:-1], ids[:1]])
        if _near(self._hidden([changed], None, [len(ids)])[0, :1], hidden[0, :1], tolerance=0.0):
            message = (
                f"config.json: is_causal false, and transformers' {self.body_class.__name__} attends to what stands "
                "before a token all the same"
            )
            raise CheckpointError(message)

    def _tokens(self, count: int) -> Tensor:
        """Some tokens that are no padding."""
        size = self._vocabulary
        ids = [place * 7 % size for place in range(1, count + 1)]
        other = (self.pad_id + 1) % size
        return torch.tensor([other if token == self.pad_id else token for token in ids], device=self.ctx.device)


def _near(found: Tensor, expected: Tensor, tolerance: float | None = None) -> bool:
    if tolerance is None:
        tolerance = 1e-4 if expected.dtype == torch.float32 else 0.05
    difference = (found.float() - expected.float()).norm() / expected.float().norm().clamp(min=1e-30)
    return bool(difference <= tolerance)


def _stretches(config: CheckpointConfig) -> bool:
    """Whether rotary positions are made anew for the length of a batch."""
    for key in ("rope_scaling", "rope_parameters"):
        options = config.get(key)
        if isinstance(options, Mapping) and (options.get("rope_type") or options.get("type")) in STRETCHING:
            return True
    return False
