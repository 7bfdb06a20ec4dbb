"""Base classes and building blocks for authors of models, poolers and kernels."""

from millpond.nn.attention import Attention, AttentionBias, AttentionSpec
from millpond.nn.batch import NUM_ATTENDED, EqualLengthGroup, PackedBatch, PoolingMetadata
from millpond.nn.linear import Linear
from millpond.nn.model import PoolingModel, TokenModule
from millpond.nn.pooler import Pooler
from millpond.nn.threads import op_threads
from millpond.nn.transfer import to_device
from millpond.nn.weights import LoadedWeights, WeightTransform, load_parameter

__all__ = [
    "NUM_ATTENDED",
    "Attention",
    "AttentionBias",
    "AttentionSpec",
    "EqualLengthGroup",
    "Linear",
    "LoadedWeights",
    "PackedBatch",
    "Pooler",
    "PoolingMetadata",
    "PoolingModel",
    "TokenModule",
    "WeightTransform",
    "load_parameter",
    "op_threads",
    "to_device",
]
