"""Classes of transformers that give a vector for each token of a text, or of an image: ColPali and its kind."""

from collections.abc import Sequence
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import Tensor

from millpond_transformers.model import TransformersModel

SEGMENTS = "token_type_ids"


class TransformersForRetrieval(TransformersModel):
    """The vectors of a class, as it projects and normalises them."""

    ignored_weights: ClassVar[Sequence[str]] = (*TransformersModel.ignored_weights, r"vlm\.(?:\w+\.)*lm_head\..*")

    def run(self, given: dict[str, Tensor]) -> Tensor:
        """The class's arguments -> [num_seqs, num_tokens, embedding_dim].

        PaliGemma attends in both directions to tokens of segment 0, which its processor gives all of a text.
        """
        if self._has_segments and SEGMENTS not in given:
            given[SEGMENTS] = torch.zeros_like(given["input_ids"])
        return super().run(given)

    @staticmethod
    def rows_of(found: Any) -> Tensor:
        """What the class gave for tokens, [num_seqs, num_tokens, embedding_dim]."""
        vectors: Tensor = found.embeddings
        return vectors

    @property
    def _has_segments(self) -> bool:
        """Whether the class hands segments on to what it stands on, and that takes them."""
        own = signature(self.base.forward).parameters.values()
        hands_on = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in own)
        return hands_on and SEGMENTS in signature(self.base.base_model.forward).parameters
