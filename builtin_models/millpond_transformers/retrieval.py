"""Classes of transformers that give a vector for each token of a text, or of an image: ColPali and its kind."""

import re
from collections.abc import Iterable, Sequence
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import Tensor

from millpond.nn.weight_loading import LoadedWeights
from millpond_transformers.model import TransformersModel

SEGMENTS = "token_type_ids"
# What files of other ages of transformers call the parts of what a class stands on, which it knows not all of.
OTHER_NAMES = (
    (r"vlm\.model\.(layers|embed_tokens|norm)\.(.+)", r"vlm.language_model.\1.\2"),
    (r"vlm\.model\.(language_model|vision_tower|multi_modal_projector|visual)\.(.+)", r"vlm.\1.\2"),
)


class TransformersForRetrieval(TransformersModel):
    """The vectors of a class, as it projects and normalises them."""

    ignored_weights: ClassVar[Sequence[str]] = (*TransformersModel.ignored_weights, r"vlm\.(?:\w+\.)*lm_head\..*")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the class its values, by the names of any age."""
        return super().load_weights((_renamed(name), tensor) for name, tensor in weights)

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


def _renamed(name: str) -> str:
    for pattern, replacement in OTHER_NAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name
