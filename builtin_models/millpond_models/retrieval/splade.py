"""SPLADE: sparse embeddings from the masked language modelling head of an encoder (arXiv 2107.05720)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, LoadedWeights, PoolingModel, load_parameter
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.conversion.token_rows import WORD_EMBEDDINGS
from millpond_models.encoders.bert.model import BertModel
from millpond_models.heads.norm import Float32LayerNorm
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.skip_special_tokens import SkipSpecialTokens

# Names in BERT, then in RoBERTa and EuroBERT, ModernBERT, DistilBERT and DeBERTa.
MLM_HEAD_NAMES: Sequence[tuple[str, str]] = (
    (r"cls\.predictions\.transform\.dense\.(weight|bias)", r"mlm.dense.\1"),
    (r"cls\.predictions\.transform\.LayerNorm\.(?:weight|gamma)", r"mlm.norm.weight"),
    (r"cls\.predictions\.transform\.LayerNorm\.(?:bias|beta)", r"mlm.norm.bias"),
    (r"cls\.predictions\.transform\.layer_norm\.(weight|bias)", r"mlm.norm.\1"),
    (r"cls\.predictions\.decoder\.(weight|bias)", r"mlm.decoder.\1"),
    (r"cls\.predictions\.bias", r"mlm.decoder.bias"),
    (r"lm_head\.dense\.(weight|bias)", r"mlm.dense.\1"),
    (r"lm_head\.(?:layer_norm|norm)\.(weight|bias)", r"mlm.norm.\1"),
    (r"lm_head\.decoder\.(weight|bias)", r"mlm.decoder.\1"),
    (r"lm_head\.(weight|bias)", r"mlm.decoder.\1"),
    (r"head\.dense\.(weight|bias)", r"mlm.dense.\1"),
    (r"head\.norm\.(weight|bias)", r"mlm.norm.\1"),
    (r"decoder\.(weight|bias)", r"mlm.decoder.\1"),
    (r"vocab_transform\.(weight|bias)", r"mlm.dense.\1"),
    (r"vocab_layer_norm\.(weight|bias)", r"mlm.norm.\1"),
    (r"vocab_projector\.(weight|bias)", r"mlm.decoder.\1"),
    (r"lm_predictions\.lm_head\.dense\.(weight|bias)", r"mlm.dense.\1"),
    (r"lm_predictions\.lm_head\.LayerNorm\.(weight|bias)", r"mlm.norm.\1"),
    (r"lm_predictions\.lm_head\.bias", r"mlm.decoder.bias"),
)
MODERNBERT, NOMIC, EUROBERT = "modernbert", "nomic_bert", "eurobert"
# Models whose head has the activation of the layers; the head of others, such as RoBERTa, has the exact GELU.
SHARED_ACTIVATION = ("bert", "deberta-v2", "distilbert", "ernie")


@dataclass(frozen=True, kw_only=True)
class MLMHeadSettings:
    """Settings of the masked language modelling head; without ``transform`` it is only the decoder layer."""

    activation: str
    eps: float
    transform: bool = True
    dense_bias: bool = True
    norm_bias: bool = True
    decoder_bias: bool = True


def mlm_head_settings(config: CheckpointConfig) -> MLMHeadSettings:
    """Return the settings of a model's head, from the keys of its family in config.json."""
    model_type = config.get("model_type", "bert")
    if model_type == MODERNBERT:
        return MLMHeadSettings(
            activation=config.get("classifier_activation", "gelu"),
            eps=float(config.get("norm_eps", 1e-5)),
            dense_bias=bool(config.get("classifier_bias", False)),
            norm_bias=bool(config.get("norm_bias", False)),
            decoder_bias=bool(config.get("decoder_bias", True)),
        )
    if model_type == EUROBERT:
        return MLMHeadSettings(
            activation="gelu", eps=1e-5, transform=False, decoder_bias=bool(config.get("mlp_bias", False))
        )
    if model_type == NOMIC:
        gate = config.get("activation_function", "swiglu")
        return MLMHeadSettings(
            activation=config.get("hidden_act") or {"swiglu": "silu"}.get(gate, "gelu"),
            eps=float(config.get("layer_norm_eps", 1e-12)),
        )
    activation = config.get("hidden_act", "gelu") if model_type in SHARED_ACTIVATION else "gelu"
    return MLMHeadSettings(activation=activation, eps=float(config.get("layer_norm_eps", 1e-12)))


class MLMHead(nn.Module):
    """The masked language modelling head: ``decoder(norm(activation(dense(x))))``, or only ``decoder(x)``."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config, settings = ctx.config, mlm_head_settings(ctx.config)
        self.settings = settings
        if settings.transform:
            self.dense = Linear(ctx, config.hidden_size, config.hidden_size, bias=settings.dense_bias)
            self.activation = hidden_activation(ctx, settings.activation)
            self.norm = Float32LayerNorm(config.hidden_size, settings.eps, bias=settings.norm_bias)
        self.decoder = Linear(ctx, config.hidden_size, config.vocab_size, bias=settings.decoder_bias)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        transformed = self.norm(self.activation(self.dense(x))) if self.settings.transform else x
        logits: Tensor = self.decoder(transformed)
        return logits


class Splade(PoolingModel):
    """A model with the masked language modelling head for ``embed``; ``token_embed`` returns its hidden states."""

    mlm: MLMHead

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler with the head, which it applies to a few rows at a time."""
        if task != "embed":
            return ctx.pooler(task)
        self.mlm = MLMHead(ctx.for_head())
        return ctx.pooler(task, head=self.mlm)

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter's name, in the head or the model."""
        for pattern, replacement in MLM_HEAD_NAMES:
            match = re.fullmatch(pattern, name)
            if match:
                return match.expand(replacement)
        return super().parameter_name(name)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters; the decoder is tied to the word embeddings if the checkpoint does not contain it.

        Raises:
            CheckpointError: If the decoder is missing and ``tie_word_embeddings`` is false.
        """
        embeddings: list[Tensor] = []
        loaded = super().load_weights(self._collect_embeddings(weights, embeddings))
        if "mlm.decoder.weight" in loaded.names or not embeddings:
            return loaded
        if self.ctx.config.get("tie_word_embeddings", True) is False:
            message = (
                "config.json sets tie_word_embeddings to false, but the masked language modelling head has no "
                "decoder.weight"
            )
            raise CheckpointError(message)
        load_parameter(self, "mlm.decoder.weight", embeddings[0], dtype=torch.float32, device=self.ctx.device)
        loaded.names.add("mlm.decoder.weight")
        return loaded

    def _collect_embeddings(
        self, weights: Iterable[tuple[str, Tensor]], embeddings: list[Tensor]
    ) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if WORD_EMBEDDINGS.fullmatch(name):
                embeddings.append(tensor)
            yield name, tensor


class BertSplade(Splade, BertModel):
    """SPLADE with BERT; ``cls_token_id`` and ``sep_token_id`` of config.json are skipped at the ends of a text."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = BertModel.weight_names

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler; ``embed`` skips [CLS] and [SEP] if config.json contains their IDs."""
        pooler = super().build_pooler(ctx, task)
        first, last = (ctx.config.get(f"{role}_token_id") for role in ("cls", "sep"))
        if task != "embed" or first == last is None:
            return pooler
        return SkipSpecialTokens(pooler, first, last, empty=(ctx.config.vocab_size,))


def as_splade(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """Return a masked language model as a sparse encoder."""
    del ctx
    return type(model_class.__name__, (Splade, model_class), {"__doc__": Splade.__doc__})


class MaskedLanguageModel(Splade):
    """A masked language model: embeddings, and the distribution over the vocabulary for ``token_classify``."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler; the head is the classifier of ``token_classify``, and embeddings do not use it."""
        if task != "token_classify":
            return ctx.pooler(task)
        self.mlm = MLMHead(ctx.for_head())
        return ctx.pooler(task, head=self.mlm, activation="softmax")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters; see ``PoolingModel``.

        Raises:
            CheckpointError: If the checkpoint has no masked language modelling head.
        """
        loaded = super().load_weights(weights)
        if not any(name.startswith("mlm.") and name != "mlm.decoder.weight" for name in loaded.names):
            message = (
                f"config.json of {self.ctx.model.model!r} names a masked language model, but its checkpoint has no "
                "masked language modelling head: pass convert='embed' to use the model without it"
            )
            raise CheckpointError(message)
        return loaded


def as_masked_lm(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """Return a masked language model with its head, for embeddings and token classification."""
    del ctx
    return type(model_class.__name__, (MaskedLanguageModel, model_class), {"__doc__": MaskedLanguageModel.__doc__})
