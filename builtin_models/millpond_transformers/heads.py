"""Classifiers of transformers: hidden states by the class without its head, then the head on what our pooler took.

The head is the class itself, in which what it stands on is replaced by something that gives it the pooled rows, as
texts of one token: whatever a class makes of hidden states, it makes of those.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from millpond.context import Context
from millpond.nn.weight_loading import LoadedWeights
from millpond.types.errors import CheckpointError
from millpond_transformers.model import TransformersModel

# Its classifier of texts, and no other, has the first token attend to all tokens, and all tokens to it.
FIRST_SEES_ALL = frozenset({"LongformerForSequenceClassification"})


class TransformersForSequenceClassification(TransformersModel):
    """A class with a head that classifies texts; of each token it makes the same."""

    hidden_alone = False
    ignored_weights: ClassVar[Sequence[str]] = (
        r"(?:\w+\.)?(?:lm_head|lm_loss|pred_layer)\..*",
        r"(?:.*\.)?(?:position_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)",
    )

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler of a task, with the class's head."""
        return self.classifier_pooler(ctx, task, Head(self.logits))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the class its values; its head gets float32, whatever the rest computes in."""
        loaded = super().load_weights(weights)
        if self.body is None:
            return loaded
        if self.base is self.body:
            message = f"{self.body_class.__name__} of transformers has no head that could be told from the rest"
            raise CheckpointError(message)
        for module in self.body.children():
            if module is not self.base:
                module.float()
        pooler = getattr(self.base, "pooler", None)
        self.first = None if pooler is None else copy.deepcopy(pooler).float()
        return loaded

    def run(self, given: dict[str, Tensor]) -> Tensor:
        """The class's arguments -> hidden states, [num_seqs, num_tokens, hidden], as the class with the head asks."""
        if self.body_class.__name__ in FIRST_SEES_ALL:
            sees_all = torch.zeros_like(given["input_ids"])
            sees_all[:, 0] = 1
            given = {**given, "global_attention_mask": sees_all}
        return super().run(given)

    def logits(self, rows: Tensor) -> Tensor:
        """Pooled rows [num_rows, hidden] -> [num_rows, num_labels]."""
        body = self.body
        assert body is not None, "the weights are not loaded"  # noqa: S101
        shell = copy.copy(body)
        given = Given(rows.float(), self._pooled)
        shell._modules = {**body._modules, body.base_model_prefix: given}  # noqa: SLF001  nothing else is copied
        ids = torch.full((len(rows), 1), self._token(), device=rows.device)
        logits: Tensor = shell(input_ids=ids, return_dict=True).logits
        return logits.flatten(1)

    def _pooled(self, rows: Tensor) -> Tensor | None:
        """What the class's own pooler makes of the first token, where it has one: [num_rows, hidden]."""
        if self.first is None:
            return None
        pooled: Tensor
        if isinstance(self.first, nn.Linear):  # ALBERT and BigBird keep the activation beside it
            activation = getattr(self.base, "pooler_activation", None) or self.base.activation
            pooled = activation(self.first(rows))  # type: ignore[operator]
        else:
            pooled = self.first(rows.unsqueeze(1))
        return pooled

    def _token(self) -> int:
        """A token at which every class looks: the end of a text, else one that is no padding."""
        config = self.ctx.config
        end = config.get("eos_token_id")
        return end if isinstance(end, int) and config.get("is_encoder_decoder") else int(self.pad_id == 0)


class TransformersForTokenClassification(TransformersForSequenceClassification):
    """A class with a head that classifies tokens."""


class Head(nn.Module):
    """The head of a class, as poolers take heads; its parameters stay the class's."""

    def __init__(self, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, hidden] -> [num_rows, num_labels]."""
        return self.logits(x)


class Given(nn.Module):
    """In the place of what a head stands on: rows that are there already, each as a text of one token."""

    def __init__(self, rows: Tensor, pooled: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.rows = rows
        self.pooled = pooled

    def forward(self, *_: object, **__: object) -> object:
        """Whatever is asked -> the rows as hidden states [num_rows, 1, hidden], and as the class pools them."""
        return GivenOutput(last_hidden_state=self.rows.unsqueeze(1), pooler_output=self.pooled(self.rows))


class GivenOutput(BaseModelOutputWithPooling):
    """What ``Given`` gives; what else heads hand on, such as caches, there is not."""

    def __getattr__(self, name: str) -> None:
        """None, for whatever is no attribute."""
        if name.startswith("__"):
            raise AttributeError(name)
