"""The SparseAutoEncoder module of sentence-transformers: sparse features of pooled vectors (arXiv 2503.01776)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from millpond.nn import Pooler, PoolingMetadata
from millpond.types.params import PoolingParams
from millpond_formats.sentence_transformers.module import NORMALIZED
from millpond_formats.sentence_transformers.sizes import size_after_sparse_autoencoder
from millpond_modeling.sparse import as_requested, keep_largest

if TYPE_CHECKING:
    from millpond.context import Context, PoolerContext
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

    def pooler(self, ctx: "PoolerContext", method: Pooler) -> Pooler:
        """Return a pooler that applies this module to the results of a pooling method."""
        return SparseAutoEncoderPooling(ctx, self, method)


class SparseAutoEncoderPooling(Pooler):
    """Pools with another method and encodes the result with the checkpoint's sparse autoencoder.

    The ``SparseOptions`` of a sequence select the format of its result and the number of features that are kept.
    Source: Wen et al., 2025, arXiv 2503.01776.
    """

    def __init__(self, ctx: "PoolerContext", sparse_autoencoder: nn.Module, method: Pooler) -> None:
        super().__init__(ctx)
        self.method = method
        self.sparse_autoencoder = sparse_autoencoder
        self.max_active_dims = ctx.model.embedding.max_active_dims

    def check(self, params: PoolingParams) -> None:
        """Check the parameters with the pooling method."""
        self.method.check(params)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return self.method.pool(hidden_states, metadata)

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, features], or a list with [num_terms, 2] for ``as_terms``."""
        pooled = self.pool(hidden_states, metadata)
        features = self.sparse_autoencoder(self._project(pooled if isinstance(pooled, Tensor) else torch.cat(pooled)))
        keep_largest(features, metadata.params, self.max_active_dims)
        return as_requested(self._finish_each(features, metadata.params), metadata.params)


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
