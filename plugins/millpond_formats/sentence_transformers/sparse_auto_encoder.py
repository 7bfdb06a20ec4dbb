"""What makes pooled vectors sparse: the SparseAutoEncoder of sentence-transformers (Wen et al. 2025, 2503.01776)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import NORMALIZED
from millpond_formats.sentence_transformers.sizes import size_of_code

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights

BEFORE, ENCODER, BEHIND = "pre_bias", "encoder.weight", "latent_bias"
TIED = "decoder.linear.weight"  # the encoder's, under the name by which safetensors keeps what is there twice
SMALLEST_SPREAD = 1e-5  # is added to the standard deviation of what is standardised


class SparseAutoEncoder(nn.Module):
    """``relu(encoder(x - before) + behind)``, in float32, of which the pooler keeps the largest values.

    Where it says so, the values of x are standardised first; and before that x is divided by its length, if a Normalize
    module stands before it.
    """

    def __init__(
        self,
        before: Tensor,
        encoder: Callable[[Tensor], Tensor],
        *,
        standardizes: bool,
        normalize: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.before, self.encoder = before, encoder
        self.standardizes, self.normalize = standardizes, normalize

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, dim] -> [num_rows, features], none of them negative."""
        if self.normalize is not None:
            x = self.normalize(x)
        if self.standardizes:
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.std(dim=-1, keepdim=True) + SMALLEST_SPREAD)
        return self.encoder(x - self.before).relu()


def load_sparse_auto_encoder(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> SparseAutoEncoder:
    """The module with its weights.

    Raises:
        CheckpointError: If they are missing, or not as its config.json says.
    """
    encoder = TIED if ENCODER not in weights.names and TIED in weights.names else ENCODER
    depth, width = config.get("input_dim"), size_of_code(config)
    shapes: dict[str, list[object]] = {BEFORE: [depth], encoder: [width, depth], BEHIND: [width]}
    for name, shape in shapes.items():
        tensor = weights.find(name)
        found = None if tensor is None else list(tensor.shape)
        if found != shape:
            message = (
                f"{weights.path}: {name!r} should have the shape {shape}, by its config.json; there is "
                f"{found or 'none'}"
            )
            raise CheckpointError(message)
    before, encode, behind = (weights.get(name, shape) for name, shape in shapes.items())
    return SparseAutoEncoder(
        before,
        ctx.op("linear")(encode, behind),
        standardizes=bool(config.get("normalize", False)),
        normalize=ctx.activation("normalize") if config.get(NORMALIZED) else None,
    )
