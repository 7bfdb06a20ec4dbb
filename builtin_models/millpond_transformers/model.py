"""TransformersModel: runs a model class of transformers as a pooling model, padding batches internally."""

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
from millpond.nn import LoadedWeights, PackedBatch, PoolingModel, load_parameter, to_device
from millpond.types.compute import BFLOAT16_WEIGHTS
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_transformers.classes import build_config, find_class
from millpond_transformers.images import INPUTS
from millpond_transformers.padding import Padding, group_by_length
from millpond_transformers.weights import load_body

logger = logging.getLogger(__name__)
MIN_VOCAB_SIZE = 256  # for configs without a vocabulary size, such as those of byte-level models
# Rope types that recompute frequencies for the longest text of a batch: they keep state, and depend on the batch.
DYNAMIC_ROPE_TYPES = ("dynamic", "longrope")


class TransformersModel(PoolingModel):
    """The hidden states of a model class of transformers, for all pooling tasks.

    Attributes:
        ignored_weights: Names of tensors that are not loaded: heads, and buffers of old files.
        ignored_missing: Names of parameters that a checkpoint may lack, because they are not used.
    """

    ignored_weights: ClassVar[Sequence[str]] = (
        r"(?:\w+\.)?(?:lm_head|embed_out|score|classifier|pre_classifier|qa_outputs|cls|pooler|v_head|logits_proj)\..*",
        r"(?:\w+\.)?(?:sequence_summary|lm_loss|pred_layer|predictions|sop_classifier|vocab_\w+)\..*",
        r"(?:discriminator|generator)_(?:predictions|lm_head)\..*",
        r"(?:.*\.)?(?:position_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)",
    )
    ignored_missing: ClassVar[Sequence[str]] = (r"(?:.*\.)?pooler\..*",)
    computed_buffers: ClassVar[re.Pattern[str]] = re.compile(r"(?:.*\.)?position_ids")  # checkpoints may lack them
    headless: ClassVar[bool] = True  # the class only computes hidden states

    def __init__(self, ctx: Context) -> None:
        if ctx.compute.quantization == BFLOAT16_WEIGHTS:  # the model class has no layers in mixed precision
            ctx = replace(ctx.unquantized(), dtype=ctx.weight_dtype)
        if ctx.compute.quantization is not None:
            message = (
                f"quantization={ctx.compute.quantization!r} is not supported for {ctx.model.architecture}, which runs "
                "with the model class of transformers"
            )
            raise InvalidInputError(message, parameter="quantization")
        super().__init__(ctx)
        self.body_class = find_class(ctx.model.architecture)
        self.body: PreTrainedModel | None = None
        self.padding = Padding()
        self._forward_lock: AbstractContextManager[Any] = nullcontext()

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Build the class, and load its parameters and those that converters added."""
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
        num_labels = 0 if self.headless else ctx.model.classification.num_labels
        config = build_config(self.body_class, ctx.config, num_labels)
        loaded = load_body(self.body_class, config, state, dtype=ctx.dtype, headless=self.headless)
        result.unused += loaded.unused
        result.missing += [name for name in loaded.missing if not self._may_be_missing(name)]
        if result.unused or result.missing:
            return result
        loaded.body.to(ctx.device)  # type: ignore[arg-type]
        self.body = loaded.body
        self._forward_lock = Lock() if _has_dynamic_rope(ctx.config) else nullcontext()
        self.padding = self._test_padding()
        return result

    def get_parameter(self, target: str) -> torch.nn.Parameter:
        """Return a parameter by its name; the word embeddings also by their name in the checkpoint."""
        try:
            return super().get_parameter(target)
        except AttributeError:
            return self.base.get_input_embeddings().weight  # type: ignore[return-value]

    @property
    def base(self) -> PreTrainedModel:
        """The model without its head."""
        assert self.body is not None, "the weights are not loaded"  # noqa: S101
        return self.body if self.headless else self.body.base_model  # type: ignore[return-value]

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        sequences = batch.input_ids.split(batch.lengths)
        token_types = None if batch.token_type_ids is None else batch.token_type_ids.split(batch.lengths)
        attended = [
            length - masked for length, masked in zip(batch.lengths, batch.num_masked or repeat(0), strict=False)
        ]
        outputs: list[Tensor] = [batch.input_ids] * batch.num_seqs
        has_images = [INPUTS in features for features in batch.features] or [False] * batch.num_seqs
        for index in (index for index in range(batch.num_seqs) if has_images[index]):
            inputs: Any = batch.features[index][INPUTS]
            outputs[index] = self._run_with_images(sequences[index], inputs)
        texts = [index for index in range(batch.num_seqs) if not has_images[index]]
        for group in group_by_length([batch.lengths[index] for index in texts], self.padding):
            indices = [texts[member] for member in group]
            hidden_states = self._run_padded(
                [sequences[index] for index in indices],
                None if token_types is None else [token_types[index] for index in indices],
                [attended[index] for index in indices],
            )
            for row, index in enumerate(indices):
                outputs[index] = hidden_states[row, : batch.lengths[index]]
        return torch.cat(outputs)

    def _run_with_images(self, ids: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Run one text with images; such texts are not batched, because the number of values depends on the images.

        Args:
            ids: Its tokens, [num_tokens].
            inputs: The additional arguments of the class, from its processor.
        """
        arguments = {"input_ids": ids.unsqueeze(0), "attention_mask": torch.ones_like(ids).unsqueeze(0)}
        for name, value in inputs.items():
            tensor = to_device(torch.from_numpy(value), ids.device)
            arguments[name] = tensor.to(self.ctx.dtype) if tensor.is_floating_point() else tensor
        return self.run(arguments)[0]

    def run(self, arguments: dict[str, Tensor]) -> Tensor:
        """Call the class; return its token outputs, [num_seqs, num_tokens, hidden_size]."""
        with self._forward_lock:
            output = self.base(**arguments, return_dict=True)
        return self.token_outputs(output)

    @staticmethod
    def token_outputs(output: Any) -> Tensor:
        """Return the token outputs in the output of the class, [num_seqs, num_tokens, hidden_size]."""
        hidden_states: Tensor = output.last_hidden_state if "last_hidden_state" in output else output[0]
        return hidden_states

    def _run_padded(
        self, ids: Sequence[Tensor], token_types: Sequence[Tensor] | None, attended: Sequence[int]
    ) -> Tensor:
        """Run sequences as a padded batch -> [num_seqs, max_length, hidden_size]."""
        padded = pad_sequence(list(ids), batch_first=True, padding_value=self.pad_id)
        arguments: dict[str, Tensor] = {"input_ids": padded}
        if "attention_mask" in self.padding.arguments:
            positions = torch.arange(padded.shape[1], device=padded.device)
            limits = to_device(torch.tensor(attended), padded.device).unsqueeze(1)
            arguments["attention_mask"] = (positions < limits).long()
        if token_types is not None and "token_type_ids" in self.padding.arguments:
            arguments["token_type_ids"] = pad_sequence(list(token_types), batch_first=True)
        return self.run(arguments)

    @property
    def pad_id(self) -> int:
        """The token ID for padding; its outputs are not used."""
        stated = self.ctx.config.get("pad_token_id")
        return stated if isinstance(stated, int) and 0 <= stated < self._vocab_size else 0

    @property
    def _vocab_size(self) -> int:
        for key in ("vocab_size", "n_words"):
            size = getattr(self.base.config.get_text_config(), key, None)
            if isinstance(size, int):
                return size
        return MIN_VOCAB_SIZE

    def _may_be_missing(self, name: str) -> bool:
        if self.computed_buffers.fullmatch(name):
            return True
        return self.headless and any(re.fullmatch(pattern, name) for pattern in self.ignored_missing)

    @torch.inference_mode()
    def _test_padding(self) -> Padding:
        """Run test inputs to find out whether padding changes the results, and return the padding to use.

        Raises:
            CheckpointError: If the class does not return one row per token, or is not bidirectional as config.json
                requires.
        """
        arguments = frozenset(signature(self.base.forward).parameters)
        exact = Padding(arguments=arguments, one_by_one=self.ctx.compute.batch_invariant)
        self.padding = exact
        short, long = self._test_tokens(5), self._test_tokens(14)
        try:
            short_output, long_output = (self._run_padded([ids], None, [len(ids)]) for ids in (short, long))
        except Exception as error:  # the library raises any type for missing arguments
            reason = " ".join(str(error).split())
            message = f"transformers' {self.body_class.__name__} requires more inputs than tokens: {reason}"
            raise CheckpointError(message) from error
        if short_output.shape[1] != len(short) or long_output.shape[1] != len(long):
            message = (
                f"transformers' {self.body_class.__name__} must return one row per token; got {short_output.shape[1]} "
                f"rows for {len(short)} tokens"
            )
            raise CheckpointError(message)
        self._check_direction(long, long_output)
        if exact.one_by_one or _has_dynamic_rope(self.ctx.config) or "attention_mask" not in arguments:
            return exact
        padded = self._run_padded([long, short], None, [len(long), len(short)])
        if not _is_close(torch.cat([padded[0], padded[1, : len(short)]]), torch.cat([long_output[0], short_output[0]])):
            logger.info(
                "%s: padding changes its results, so batches only contain texts of equal length", self.body_class
            )
            return exact
        return replace(exact, mixed_lengths=True)

    def _check_direction(self, ids: Tensor, hidden_states: Tensor) -> None:
        if self.ctx.config.get("is_causal") is not False:
            return
        changed_last = torch.cat([ids[:-1], ids[:1]])
        changed = self._run_padded([changed_last], None, [len(ids)])
        if _is_close(changed[0, :1], hidden_states[0, :1], tolerance=0.0):
            message = (
                f"config.json sets is_causal to false, but transformers' {self.body_class.__name__} only attends to "
                "earlier tokens"
            )
            raise CheckpointError(message)

    def _test_tokens(self, count: int) -> Tensor:
        """Return token IDs that are not padding."""
        size = self._vocab_size
        ids = [index * 7 % size for index in range(1, count + 1)]
        substitute = (self.pad_id + 1) % size
        return torch.tensor([substitute if token == self.pad_id else token for token in ids], device=self.ctx.device)


def _is_close(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> bool:
    if tolerance is None:
        tolerance = 1e-4 if expected.dtype == torch.float32 else 0.05
    difference = (actual.float() - expected.float()).norm() / expected.float().norm().clamp(min=1e-30)
    return bool(difference <= tolerance)


def _has_dynamic_rope(config: CheckpointConfig) -> bool:
    """Return True if rotary frequencies are recomputed for the length of a batch."""
    for key in ("rope_scaling", "rope_parameters"):
        options = config.get(key)
        if isinstance(options, Mapping) and (options.get("rope_type") or options.get("type")) in DYNAMIC_ROPE_TYPES:
            return True
    return False
