"""Millpond: pooling models. The public names, each imported when it is first touched."""

from importlib import import_module
from typing import TYPE_CHECKING

from millpond.compat import moved as _moved

if TYPE_CHECKING:
    from millpond.async_llm import AsyncLLM as AsyncLLM
    from millpond.llm import LLM as LLM
    from millpond.pipeline.io_processor import IOProcessor as IOProcessor
    from millpond.plugin.manager import register as register
    from millpond.types.config import EngineConfig as EngineConfig
    from millpond.types.config import PoolerConfig as PoolerConfig
    from millpond.types.errors import CheckpointError as CheckpointError
    from millpond.types.errors import EngineClosedError as EngineClosedError
    from millpond.types.errors import EngineError as EngineError
    from millpond.types.errors import EngineOverloadedError as EngineOverloadedError
    from millpond.types.errors import InvalidInputError as InvalidInputError
    from millpond.types.errors import MillpondError as MillpondError
    from millpond.types.errors import ModelNotFoundError as ModelNotFoundError
    from millpond.types.errors import PluginError as PluginError
    from millpond.types.errors import UnknownNameError as UnknownNameError
    from millpond.types.late_chunking import LateChunkingParams as LateChunkingParams
    from millpond.types.outputs import ChunkEmbedding as ChunkEmbedding
    from millpond.types.outputs import ChunksOutput as ChunksOutput
    from millpond.types.outputs import ChunksRequestOutput as ChunksRequestOutput
    from millpond.types.outputs import ClassificationOutput as ClassificationOutput
    from millpond.types.outputs import ClassificationRequestOutput as ClassificationRequestOutput
    from millpond.types.outputs import EmbeddingOutput as EmbeddingOutput
    from millpond.types.outputs import EmbeddingRequestOutput as EmbeddingRequestOutput
    from millpond.types.outputs import EntitiesOutput as EntitiesOutput
    from millpond.types.outputs import EntitiesRequestOutput as EntitiesRequestOutput
    from millpond.types.outputs import Entity as Entity
    from millpond.types.outputs import PoolingOutput as PoolingOutput
    from millpond.types.outputs import PoolingRequestOutput as PoolingRequestOutput
    from millpond.types.outputs import RepresentationsOutput as RepresentationsOutput
    from millpond.types.outputs import RepresentationsRequestOutput as RepresentationsRequestOutput
    from millpond.types.outputs import ScoringOutput as ScoringOutput
    from millpond.types.outputs import ScoringRequestOutput as ScoringRequestOutput
    from millpond.types.outputs import SparseEmbeddingOutput as SparseEmbeddingOutput
    from millpond.types.outputs import SparseEmbeddingRequestOutput as SparseEmbeddingRequestOutput
    from millpond.types.params import PoolingParams as PoolingParams
    from millpond.types.prompts import DataPrompt as DataPrompt
    from millpond.types.prompts import TextPrompt as TextPrompt
    from millpond.types.prompts import TokensPrompt as TokensPrompt
else:
    _HOME = {
        "AsyncLLM": "async_llm",
        "CheckpointError": "types.errors",
        "ChunkEmbedding": "types.outputs",
        "ChunksOutput": "types.outputs",
        "ChunksRequestOutput": "types.outputs",
        "ClassificationOutput": "types.outputs",
        "ClassificationRequestOutput": "types.outputs",
        "DataPrompt": "types.prompts",
        "EmbeddingOutput": "types.outputs",
        "EmbeddingRequestOutput": "types.outputs",
        "EngineClosedError": "types.errors",
        "EngineConfig": "types.config",
        "EngineError": "types.errors",
        "EngineOverloadedError": "types.errors",
        "EntitiesOutput": "types.outputs",
        "EntitiesRequestOutput": "types.outputs",
        "Entity": "types.outputs",
        "IOProcessor": "pipeline.io_processor",
        "InvalidInputError": "types.errors",
        "LLM": "llm",
        "MillpondError": "types.errors",
        "LateChunkingParams": "types.late_chunking",
        "ModelNotFoundError": "types.errors",
        "PluginError": "types.errors",
        "PoolerConfig": "types.config",
        "PoolingOutput": "types.outputs",
        "PoolingParams": "types.params",
        "PoolingRequestOutput": "types.outputs",
        "RepresentationsOutput": "types.outputs",
        "RepresentationsRequestOutput": "types.outputs",
        "ScoringOutput": "types.outputs",
        "ScoringRequestOutput": "types.outputs",
        "SparseEmbeddingOutput": "types.outputs",
        "SparseEmbeddingRequestOutput": "types.outputs",
        "TextPrompt": "types.prompts",
        "TokensPrompt": "types.prompts",
        "UnknownNameError": "types.errors",
        "register": "plugin.manager",
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


_moved.install()

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
