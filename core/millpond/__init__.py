"""Millpond: pooling models. The public API; each name is imported at its first use.

The names are declared twice: for type checkers, which execute nothing, and for lazy imports. A test compares both.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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
    from millpond.types.outputs import PoolingOutput as PoolingOutput
    from millpond.types.outputs import PoolingRequestOutput as PoolingRequestOutput
    from millpond.types.outputs import RepresentationsOutput as RepresentationsOutput
    from millpond.types.outputs import RepresentationsRequestOutput as RepresentationsRequestOutput
    from millpond.types.outputs import ScoringOutput as ScoringOutput
    from millpond.types.outputs import ScoringRequestOutput as ScoringRequestOutput
    from millpond.types.outputs import SparseEmbeddingOutput as SparseEmbeddingOutput
    from millpond.types.outputs import SparseEmbeddingRequestOutput as SparseEmbeddingRequestOutput
    from millpond.types.outputs import TokenEmbeddingsOutput as TokenEmbeddingsOutput
    from millpond.types.params import PoolingParams as PoolingParams
    from millpond.types.prompts import DataPrompt as DataPrompt
    from millpond.types.prompts import TextPrompt as TextPrompt
    from millpond.types.prompts import TokensPrompt as TokensPrompt
else:
    _NAMES = {
        "async_llm": "AsyncLLM",
        "llm": "LLM",
        "pipeline.io_processor": "IOProcessor",
        "plugin.manager": "register",
        "types.config": "EngineConfig PoolerConfig",
        "types.errors": (
            "CheckpointError EngineClosedError EngineError EngineOverloadedError InvalidInputError "
            "MillpondError ModelNotFoundError PluginError UnknownNameError"
        ),
        "types.late_chunking": "LateChunkingParams",
        "types.outputs": (
            "ChunkEmbedding ChunksOutput ChunksRequestOutput ClassificationOutput ClassificationRequestOutput "
            "EmbeddingOutput EmbeddingRequestOutput PoolingOutput "
            "PoolingRequestOutput RepresentationsOutput RepresentationsRequestOutput ScoringOutput "
            "ScoringRequestOutput SparseEmbeddingOutput SparseEmbeddingRequestOutput TokenEmbeddingsOutput"
        ),
        "types.params": "PoolingParams",
        "types.prompts": "DataPrompt TextPrompt TokensPrompt",
    }
    _HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
    __all__ = list(_HOME)

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]


__version__ = "0.1.0"
