"""The SparseAutoEncoder module of sentence-transformers: sparse features of pooled vectors (arXiv 2503.01776)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond_formats.sentence_transformers.module import NORMALIZED
from millpond_formats.sentence_transformers.sizes import size_after_sparse_autoencoder

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights

PRE_BIAS_KEY, ENCODER_KEY, LATENT_BIAS_KEY = "pre_bias", "encoder.weight", "latent_bias"
TIED_ENCODER_KEY = "decoder.linear.weight"  # the name under which safetensors stores tied encoder weights
STD_EPSILON = 1e-5  # added to the standard deviation


class SparseAutoEncoder(nn.Module):
    """``relu(encoder(x - pre_bias) + latent_bias)``, in float32; the pooler keeps the largest values.

    Before that, x is divided by its length if a Normalize module precedes this module, and then standardized if the
    config specifies it.
    """

    def __init__(
        self,
        pre_bias: Tensor,
        encoder: Callable[[Tensor], Tensor],
        *,
        standardizes: bool,
        normalize: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.pre_bias, self.encoder = pre_bias, encoder
        self.standardizes, self.normalize = standardizes, normalize

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, dim] -> [num_rows, features], not negative."""
        if self.normalize is not None:
            x = self.normalize(x)
        if self.standardizes:
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.std(dim=-1, keepdim=True) + STD_EPSILON)
        return self.encoder(x - self.pre_bias).relu()


def load_sparse_auto_encoder(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> SparseAutoEncoder:
    """Load the module.

    Raises:
        CheckpointError: If the weights are missing or do not match its config.
    """
    is_tied = ENCODER_KEY not in weights.names and TIED_ENCODER_KEY in weights.names
    size, features = config.get("input_dim"), size_after_sparse_autoencoder(config)
    pre_bias = weights.get(PRE_BIAS_KEY, [size])
    encoder = weights.get(TIED_ENCODER_KEY if is_tied else ENCODER_KEY, [features, size])
    latent_bias = weights.get(LATENT_BIAS_KEY, [features])
    return SparseAutoEncoder(
        pre_bias,
        ctx.op("linear")(encoder, latent_bias),
        standardizes=bool(config.get("normalize", False)),
        normalize=ctx.activation("normalize") if config.get(NORMALIZED) else None,
    )
