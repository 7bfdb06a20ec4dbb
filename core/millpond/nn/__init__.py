"""Base classes and building blocks for authors of models, poolers and kernels."""

from millpond.nn.attention import Attention, AttentionBias, AttentionSpec
from millpond.nn.batch import EqualLengthGroup, PackedBatch, PoolingMetadata
from millpond.nn.linear import Linear
from millpond.nn.model import PoolingModel
from millpond.nn.pooler import Pooler
from millpond.nn.post_pooling import TokenModule
from millpond.nn.weight_transform import WeightTransform

__all__ = [
    "Attention",
    "AttentionBias",
    "AttentionSpec",
    "EqualLengthGroup",
    "Linear",
    "PackedBatch",
    "Pooler",
    "PoolingMetadata",
    "PoolingModel",
    "TokenModule",
    "WeightTransform",
]
