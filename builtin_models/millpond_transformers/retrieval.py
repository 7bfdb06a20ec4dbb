"""Late-interaction models of transformers such as ColPali: one vector per token of a text or an image."""

import re
from collections.abc import Iterable, Sequence
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import Tensor

from millpond.nn import LoadedWeights
from millpond_transformers.model import TransformersModel

TYPE_IDS = "token_type_ids"
# Names in files of other versions of transformers, not all of which the classes support.
RENAMED_WEIGHTS = (
    (r"vlm\.model\.(layers|embed_tokens|norm)\.(.+)", r"vlm.language_model.\1.\2"),
    (r"vlm\.model\.(language_model|vision_tower|multi_modal_projector|visual)\.(.+)", r"vlm.\1.\2"),
)


class TransformersForRetrieval(TransformersModel):
    """Returns the projected and normalized vectors of a class."""

    ignored_weights: ClassVar[Sequence[str]] = (*TransformersModel.ignored_weights, r"vlm\.(?:\w+\.)*lm_head\..*")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the class, with the weight names of any version."""
        return super().load_weights((_rename(name), tensor) for name, tensor in weights)

    def run(self, arguments: dict[str, Tensor]) -> Tensor:
        """Call the class; return the vectors of tokens, [num_seqs, num_tokens, embedding_dim].

        PaliGemma has bidirectional attention for tokens of type 0, which its processor assigns to all tokens.
        """
        if self._has_token_types and TYPE_IDS not in arguments:
            arguments[TYPE_IDS] = torch.zeros_like(arguments["input_ids"])
        return super().run(arguments)

    @staticmethod
    def token_outputs(output: Any) -> Tensor:
        """Return the vectors in the output of the class, [num_seqs, num_tokens, embedding_dim]."""
        vectors: Tensor = output.embeddings
        return vectors

    @property
    def _has_token_types(self) -> bool:
        """True if the class passes token types on to its base model, and that accepts them."""
        parameters = signature(self.base.forward).parameters.values()
        has_kwargs = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
        return has_kwargs and TYPE_IDS in signature(self.base.base_model.forward).parameters


def _rename(name: str) -> str:
    for pattern, replacement in RENAMED_WEIGHTS:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name
