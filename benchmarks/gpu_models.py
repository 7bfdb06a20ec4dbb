"""The models and goals of gpu_all.py: random weights with the sizes of published models.

All vocabularies have the size of BERT's: the number of rows of an embedding table hardly changes the speed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

VOCABULARY = 30522


@dataclass(frozen=True, kw_only=True)
class RandomModel:
    """A model with random weights.

    Attributes:
        name: The published model with these sizes.
        architecture: Its architecture.
        config: Its fields of config.json that differ from those of a tiny checkpoint.
        gated: True if the feed-forward network has three matrices instead of two.
        pooling: The pooling type.
    """

    name: str
    architecture: str
    config: Mapping[str, Any]
    gated: bool = False
    pooling: str = "MEAN"

    def write(self, folder: Path, *, tiny_size: bool, dtype: str = "bfloat16") -> Path:
        """Write the checkpoint if it does not exist, and return its folder.

        Args:
            folder: The folder of all models.
            tiny_size: True for two small layers instead of the published sizes.
            dtype: The dtype of the weights.
        """
        from millpond.testing.checkpoints import tiny  # noqa: PLC0415  imports torch

        size = "tiny" if tiny_size else "full"
        target = folder / f"{self.name}-{size}-{dtype}"
        if not (target / "config.json").exists():
            config = {} if tiny_size else dict(self.config)
            tiny(self.architecture, target, dtype=dtype, **config)
        return target

    def flops(self, config: Mapping[str, Any], tokens: int) -> float:
        """Return the floating-point operations of a sequence's forward pass, without embeddings and padding.

        Args:
            config: The content of config.json.
            tokens: The number of tokens of the sequence.
        """
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        head_dim = config.get("head_dim") or hidden // heads
        attended, shared = heads * head_dim, (config.get("num_key_value_heads") or heads) * head_dim
        projections = 2 * hidden * (2 * attended + 2 * shared)
        feed_forward = 2 * hidden * config["intermediate_size"] * (3 if self.gated else 2)
        causal = 0.5 if self.gated and "num_key_value_heads" in config else 1.0  # half of the scores
        return float(
            config["num_hidden_layers"] * tokens * (projections + feed_forward + causal * 4 * attended * tokens)
        )


@dataclass(frozen=True, kw_only=True)
class Work:
    """A row of the table of goals.

    Attributes:
        name: The name of the row.
        model: The model.
        tokens: The number of tokens of each sequence.
        goal: The goal for one H100 in bfloat16, in ``unit`` per second.
        stretch: The more ambitious goal; None for none.
        unit: "tokens" or "sequences".
    """

    name: str
    model: RandomModel
    tokens: int
    goal: float
    stretch: float | None = None
    unit: str = "tokens"


def _sizes(hidden: int, layers: int, heads: int, inner: int, positions: int = 512) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": positions,
    }


BERT_BASE = RandomModel(name="BERT-base", architecture="BertModel", config=MappingProxyType(_sizes(768, 12, 12, 3072)))
MINILM = RandomModel(name="MiniLM-L6", architecture="BertModel", config=MappingProxyType(_sizes(384, 6, 12, 1536)))
BGE_M3 = RandomModel(
    name="bge-m3", architecture="XLMRobertaModel", config=MappingProxyType(_sizes(1024, 24, 16, 4096, 514))
)
MODERNBERT = RandomModel(
    name="ModernBERT-base",
    architecture="ModernBertModel",
    config=MappingProxyType({**_sizes(768, 22, 12, 1152), "local_attention": 128}),
    gated=True,
)
QWEN3 = RandomModel(
    name="Qwen3-0.6B",
    architecture="Qwen3Model",
    config=MappingProxyType(
        {**_sizes(1024, 28, 16, 3072), "num_key_value_heads": 8, "head_dim": 128, "max_window_layers": 28}
    ),
    gated=True,
    pooling="LAST",
)
MODELS = (BERT_BASE, MINILM, BGE_M3, MODERNBERT, QWEN3)
WORKS = (
    Work(name="BERT-base, 512 tokens", model=BERT_BASE, tokens=512, goal=2.1e6, stretch=2.8e6),
    Work(name="BERT-base, 50 tokens", model=BERT_BASE, tokens=50, goal=1.2e6, stretch=2e6),
    Work(name="MiniLM-L6, 128 tokens", model=MINILM, tokens=128, goal=4e6, stretch=6.5e6),
    Work(name="bge-m3, 512 tokens", model=BGE_M3, tokens=512, goal=6e5, stretch=8.3e5),
    Work(name="ModernBERT-base, 512 tokens", model=MODERNBERT, tokens=512, goal=1.6e6, stretch=2.3e6),
    Work(name="Qwen3-Embedding-0.6B, 512 tokens", model=QWEN3, tokens=512, goal=4.2e5, stretch=5.8e5),
    Work(
        name="Qwen3-Reranker-0.6B, pairs of 256 tokens",
        model=QWEN3,
        tokens=256,
        goal=1500,
        stretch=2500,
        unit="sequences",
    ),
)
MAXSIM_GOAL_MS = 0.15  # 1,000 documents of 180 tokens, 128 dimensions
QUERY_GOAL_MS, QUERY_STRETCH_MS = 2.5, 1.5  # the median of one query of 10 tokens, BERT-base
