"""Classifiers of transformers: the base model computes hidden states, and the head runs on pooled rows.

The head is the model class itself, with its base model replaced by a module that returns the pooled rows as texts of
one token. This works for any head of the class.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from millpond.context import Context
from millpond.nn import LoadedWeights
from millpond.types.errors import CheckpointError
from millpond_modeling.classifier import classifier_pooler
from millpond_transformers.model import TransformersModel

# Classes that give the first token global attention, only in this head.
GLOBAL_FIRST_TOKEN = frozenset({"LongformerForSequenceClassification"})


class TransformersForSequenceClassification(TransformersModel):
    """A class with a text classification head, which can be applied to every token too."""

    headless = False
    ignored_weights: ClassVar[Sequence[str]] = (
        r"(?:\w+\.)?(?:lm_head|lm_loss|pred_layer)\..*",
        r"(?:.*\.)?(?:position_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)",
    )

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler of a task, with the head of the class."""
        return classifier_pooler(ctx, task, Head(self.logits))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the class; its head computes in float32, independent of the model's dtype."""
        loaded = super().load_weights(weights)
        if self.body is None:
            return loaded
        if self.base is self.body:
            message = f"the head of transformers' {self.body_class.__name__} cannot be separated from its base model"
            raise CheckpointError(message)
        for module in self.body.children():
            if module is not self.base:
                module.float()
        pooler = getattr(self.base, "pooler", None)
        self.float32_pooler = None if pooler is None else copy.deepcopy(pooler).float()
        return loaded

    def run(self, arguments: dict[str, Tensor]) -> Tensor:
        """Call the base model with the arguments that the class would pass; see ``TransformersModel``."""
        if self.body_class.__name__ in GLOBAL_FIRST_TOKEN:
            global_attention = torch.zeros_like(arguments["input_ids"])
            global_attention[:, 0] = 1
            arguments = {**arguments, "global_attention_mask": global_attention}
        return super().run(arguments)

    def logits(self, rows: Tensor) -> Tensor:
        """Pooled rows [num_rows, hidden_size] -> [num_rows, num_labels]."""
        body = self.body
        assert body is not None, "the weights are not loaded"  # noqa: S101
        shell = copy.copy(body)
        stub = PooledRows(rows.float(), self._pooler_output)
        shell._modules = {**body._modules, body.base_model_prefix: stub}  # noqa: SLF001  only this dictionary is copied
        ids = torch.full((len(rows), 1), self._last_token_id(), device=rows.device)
        logits: Tensor = shell(input_ids=ids, return_dict=True).logits
        return logits.flatten(1)

    def _pooler_output(self, rows: Tensor) -> Tensor | None:
        """Return the output of the base model's own pooler, [num_rows, hidden_size]; None if it has no pooler."""
        pooler = self.float32_pooler
        if pooler is None:
            return None
        pooled: Tensor
        if isinstance(pooler, nn.Linear):  # ALBERT and BigBird have a separate activation
            activation = getattr(self.base, "pooler_activation", None) or self.base.activation
            pooled = activation(pooler(rows))  # type: ignore[operator]
        else:
            pooled = pooler(rows.unsqueeze(1))
        return pooled

    def _last_token_id(self) -> int:
        """Return a token ID that every class classifies by: EOS for encoder-decoders, else one that is not padding."""
        config = self.ctx.config
        eos_id = config.get("eos_token_id")
        return eos_id if isinstance(eos_id, int) and config.get("is_encoder_decoder") else int(self.pad_id == 0)


class TransformersForTokenClassification(TransformersForSequenceClassification):
    """A class with a token classification head."""


class Head(nn.Module):
    """Wraps the head of a class for poolers; its parameters remain those of the class."""

    def __init__(self, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, num_labels]."""
        return self.logits(x)


class PooledRows(nn.Module):
    """Replaces the base model of a head: returns given rows, each as a text of one token."""

    def __init__(self, rows: Tensor, pooler: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.rows = rows
        self.pooler = pooler

    def forward(self, *_: object, **__: object) -> object:
        """Return the rows as hidden states [num_rows, 1, hidden_size], and the pooler output, for any arguments."""
        return PooledRowsOutput(last_hidden_state=self.rows.unsqueeze(1), pooler_output=self.pooler(self.rows))


class PooledRowsOutput(BaseModelOutputWithPooling):
    """The output of ``PooledRows``; other fields that heads read, such as caches, are None."""

    def __getattr__(self, name: str) -> None:
        """Return None for missing fields."""
        if name.startswith("__"):
            raise AttributeError(name)
