"""SPLADE: encoders whose head for masked tokens gives each token of the vocabulary a weight."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PoolingModel
from millpond.nn.weight_loading import LoadedWeights, load_parameter
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.conversion.token_rows import EMBEDDINGS
from millpond_models.encoders.bert.model import BertModel
from millpond_models.heads.norm import Float32LayerNorm
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.skip_special_tokens import SkipSpecialTokens

# The names of BERT, then of RoBERTa and EuroBERT, ModernBERT, DistilBERT, DeBERTa.
HEAD_NAMES: Sequence[tuple[str, str]] = (
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
OWN_ACTIVATION = (
    "bert",
    "deberta-v2",
    "distilbert",
    "ernie",
)  # whose head has that of the layers; RoBERTa's has the exact GELU


@dataclass(frozen=True, kw_only=True)
class HeadForm:
    """What of the head for masked tokens differs among models; ``transforms`` is whether more than the last map is."""

    activation: str
    eps: float
    transforms: bool = True
    dense_bias: bool = True
    norm_bias: bool = True
    decoder_bias: bool = True


def head_form(config: CheckpointConfig) -> HeadForm:
    """The form of a model's head, as its config.json says it by the keys of its family."""
    kind = config.get("model_type", "bert")
    if kind == MODERNBERT:
        return HeadForm(
            activation=config.get("classifier_activation", "gelu"),
            eps=float(config.get("norm_eps", 1e-5)),
            dense_bias=bool(config.get("classifier_bias", False)),
            norm_bias=bool(config.get("norm_bias", False)),
            decoder_bias=bool(config.get("decoder_bias", True)),
        )
    if kind == EUROBERT:
        return HeadForm(activation="gelu", eps=1e-5, transforms=False, decoder_bias=bool(config.get("mlp_bias", False)))
    if kind == NOMIC:  # published files name the activation of the gates
        named = config.get("activation_function", "swiglu")
        return HeadForm(
            activation=config.get("hidden_act") or {"swiglu": "silu"}.get(named, "gelu"),
            eps=float(config.get("layer_norm_eps", 1e-12)),
        )
    own = config.get("hidden_act", "gelu") if kind in OWN_ACTIVATION else "gelu"
    return HeadForm(activation=own, eps=float(config.get("layer_norm_eps", 1e-12)))


class MaskedHead(nn.Module):
    """``decoder(norm(activation(dense(x))))``, or ``decoder(x)``: hidden states to the logits of all tokens."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config, form = ctx.config, head_form(ctx.config)
        self.form = form
        if form.transforms:
            self.dense = Linear(ctx, config.hidden_size, config.hidden_size, bias=form.dense_bias)
            self.activation = hidden_activation(ctx, form.activation)
            self.norm = Float32LayerNorm(config.hidden_size, form.eps, bias=form.norm_bias)
        self.decoder = Linear(ctx, config.hidden_size, config.vocab_size, bias=form.decoder_bias)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, hidden] -> [num_rows, vocabulary]."""
        inner = self.norm(self.activation(self.dense(x))) if self.form.transforms else x
        logits: Tensor = self.decoder(inner)
        return logits


class Splade(PoolingModel):
    """A model with the head for masked tokens behind it, for the task ``embed``; ``token_embed`` goes without."""

    mlm: MaskedHead

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The head within the pooler, which applies it to few rows at a time."""
        if task != "embed":
            return ctx.pooler(task)
        self.mlm = MaskedHead(ctx.for_head())
        return ctx.pooler(task, head=self.mlm)

    def parameter_name(self, name: str) -> str | None:
        """The head's, else as the model says."""
        for pattern, replacement in HEAD_NAMES:
            match = re.fullmatch(pattern, name)
            if match:
                return match.expand(replacement)
        return super().parameter_name(name)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values; a head without a table of its own gets that of the embeddings.

        Raises:
            CheckpointError: If config.json says that there is one, and there is none.
        """
        tables: list[Tensor] = []
        loaded = super().load_weights(self._watched(weights, tables))
        if "mlm.decoder.weight" in loaded.names or not tables:
            return loaded
        if self.ctx.config.get("tie_word_embeddings", True) is False:
            message = "config.json says tie_word_embeddings=false, and the head for masked tokens has no decoder.weight"
            raise CheckpointError(message)
        load_parameter(self, "mlm.decoder.weight", tables[0], dtype=torch.float32, device=self.ctx.device)
        loaded.names.add("mlm.decoder.weight")
        return loaded

    def _watched(self, weights: Iterable[tuple[str, Tensor]], tables: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if EMBEDDINGS.fullmatch(name):
                tables.append(tensor)
            yield name, tensor


class BertSplade(Splade, BertModel):
    """SPLADE of BERT; the tokens that config.json names [CLS] and [SEP] are left out at the ends of a text."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = BertModel.weight_names

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler, for ``embed`` of what lies between [CLS] and [SEP] if config.json says which these are."""
        pooler = super().build_pooler(ctx, task)
        first, last = (ctx.config.get(f"{role}_token_id") for role in ("cls", "sep"))
        if task != "embed" or first == last is None:
            return pooler
        return SkipSpecialTokens(pooler, first, last, empty=(ctx.config.vocab_size,))


def as_splade(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """A masked language model as a sparse encoder."""
    del ctx
    return type(model_class.__name__, (Splade, model_class), {"__doc__": Splade.__doc__})


class MaskedLanguageModel(Splade):
    """A masked language model: its vectors, and for ``token_classify`` the distribution over the vocabulary."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The head for masked tokens as the classifier of tokens; vectors go without."""
        if task != "token_classify":
            return ctx.pooler(task)
        self.mlm = MaskedHead(ctx.for_head())
        return ctx.pooler(task, head=self.mlm, activation="softmax")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the weights, those of the head among them.

        Raises:
            CheckpointError: The checkpoint has no head.
        """
        loaded = super().load_weights(weights)
        if not any(name.startswith("mlm.") and name != "mlm.decoder.weight" for name in loaded.names):
            message = (
                f"{self.ctx.model.model!r} is named a masked language model and its files have no head for masked "
                "tokens: pass convert='embed' to use the model without it"
            )
            raise CheckpointError(message)
        return loaded


def as_masked_lm(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """Return a masked language model that keeps its head, beside the vectors of the model without it."""
    del ctx
    return type(model_class.__name__, (MaskedLanguageModel, model_class), {"__doc__": MaskedLanguageModel.__doc__})
