"""Millpond: pooling models. The public names, each imported when it is first touched."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond.async_llm import AsyncLLM as AsyncLLM
    from millpond.config import EngineConfig as EngineConfig
    from millpond.config import PoolerConfig as PoolerConfig
    from millpond.errors import CheckpointError as CheckpointError
    from millpond.errors import EngineClosedError as EngineClosedError
    from millpond.errors import EngineError as EngineError
    from millpond.errors import EngineOverloadedError as EngineOverloadedError
    from millpond.errors import InvalidInputError as InvalidInputError
    from millpond.errors import MillpondError as MillpondError
    from millpond.errors import ModelNotFoundError as ModelNotFoundError
    from millpond.errors import PluginError as PluginError
    from millpond.errors import UnknownNameError as UnknownNameError
    from millpond.inputs import DataPrompt as DataPrompt
    from millpond.inputs import TextPrompt as TextPrompt
    from millpond.inputs import TokensPrompt as TokensPrompt
    from millpond.io_processor import IOProcessor as IOProcessor
    from millpond.late_chunking import LateChunkingParams as LateChunkingParams
    from millpond.llm import LLM as LLM
    from millpond.outputs import ChunkEmbedding as ChunkEmbedding
    from millpond.outputs import ChunksOutput as ChunksOutput
    from millpond.outputs import ChunksRequestOutput as ChunksRequestOutput
    from millpond.outputs import ClassificationOutput as ClassificationOutput
    from millpond.outputs import ClassificationRequestOutput as ClassificationRequestOutput
    from millpond.outputs import EmbeddingOutput as EmbeddingOutput
    from millpond.outputs import EmbeddingRequestOutput as EmbeddingRequestOutput
    from millpond.outputs import EntitiesOutput as EntitiesOutput
    from millpond.outputs import EntitiesRequestOutput as EntitiesRequestOutput
    from millpond.outputs import Entity as Entity
    from millpond.outputs import PoolingOutput as PoolingOutput
    from millpond.outputs import PoolingRequestOutput as PoolingRequestOutput
    from millpond.outputs import RepresentationsOutput as RepresentationsOutput
    from millpond.outputs import RepresentationsRequestOutput as RepresentationsRequestOutput
    from millpond.outputs import ScoringOutput as ScoringOutput
    from millpond.outputs import ScoringRequestOutput as ScoringRequestOutput
    from millpond.outputs import SparseEmbeddingOutput as SparseEmbeddingOutput
    from millpond.outputs import SparseEmbeddingRequestOutput as SparseEmbeddingRequestOutput
    from millpond.params import PoolingParams as PoolingParams
    from millpond.plugins import register as register
else:
    _HOME = {
        "AsyncLLM": "async_llm",
        "CheckpointError": "errors",
        "ChunkEmbedding": "outputs",
        "ChunksOutput": "outputs",
        "ChunksRequestOutput": "outputs",
        "ClassificationOutput": "outputs",
        "ClassificationRequestOutput": "outputs",
        "DataPrompt": "inputs",
        "EmbeddingOutput": "outputs",
        "EmbeddingRequestOutput": "outputs",
        "EngineClosedError": "errors",
        "EngineConfig": "config",
        "EngineError": "errors",
        "EngineOverloadedError": "errors",
        "EntitiesOutput": "outputs",
        "EntitiesRequestOutput": "outputs",
        "Entity": "outputs",
        "IOProcessor": "io_processor",
        "InvalidInputError": "errors",
        "LLM": "llm",
        "MillpondError": "errors",
        "LateChunkingParams": "late_chunking",
        "ModelNotFoundError": "errors",
        "PluginError": "errors",
        "PoolerConfig": "config",
        "PoolingOutput": "outputs",
        "PoolingParams": "params",
        "PoolingRequestOutput": "outputs",
        "RepresentationsOutput": "outputs",
        "RepresentationsRequestOutput": "outputs",
        "ScoringOutput": "outputs",
        "ScoringRequestOutput": "outputs",
        "SparseEmbeddingOutput": "outputs",
        "SparseEmbeddingRequestOutput": "outputs",
        "TextPrompt": "inputs",
        "TokensPrompt": "inputs",
        "UnknownNameError": "errors",
        "register": "plugins",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]


__version__ = "0.1.0"

__all__ = [
    "LLM",
    "AsyncLLM",
    "CheckpointError",
    "ChunkEmbedding",
    "ChunksOutput",
    "ChunksRequestOutput",
    "ClassificationOutput",
    "ClassificationRequestOutput",
    "DataPrompt",
    "EmbeddingOutput",
    "EmbeddingRequestOutput",
    "EngineClosedError",
    "EngineConfig",
    "EngineError",
    "EngineOverloadedError",
    "EntitiesOutput",
    "EntitiesRequestOutput",
    "Entity",
    "IOProcessor",
    "InvalidInputError",
    "LateChunkingParams",
    "MillpondError",
    "ModelNotFoundError",
    "PluginError",
    "PoolerConfig",
    "PoolingOutput",
    "PoolingParams",
    "PoolingRequestOutput",
    "RepresentationsOutput",
    "RepresentationsRequestOutput",
    "ScoringOutput",
    "ScoringRequestOutput",
    "SparseEmbeddingOutput",
    "SparseEmbeddingRequestOutput",
    "TextPrompt",
    "TokensPrompt",
    "UnknownNameError",
    "register",
]
