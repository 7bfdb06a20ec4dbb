"""Queries that are embedded without the model: each of their tokens by a weight of its own (arXiv 2411.04403)."""

from dataclasses import replace

import numpy as np

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.loading.modules import load_module
from millpond.pipeline.io_processor import Asked
from millpond.types.checkpoint import ModuleFacts
from millpond.types.prompts import Prompt
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.text.prompt_tokenizer import TokenizedPrompt

QUERY = "query"
MOST = "max_active_dims"


class StaticQueryWeights:
    """The weights of a model's vocabulary, and what queries become by them."""

    def __init__(self, ctx: Context, module: ModuleFacts) -> None:
        self.weights = load_module(ctx, module).get_buffer("weight").float().cpu().numpy()
        self.most = ctx.model.embedding.max_active_dims

    def prepared(self, prompt: Prompt) -> Prompt:
        """A query as it is tokenised: without special tokens."""
        return replace(prompt, add_special_tokens=False)

    def sequence(self, rendered: TokenizedPrompt, task: str, asked: Asked) -> PoolingRequest:
        """Return a query with its result: the weights of its tokens, each once, and zeros, [vocabulary]."""
        found = np.zeros_like(self.weights)
        found[rendered.input_ids] = self.weights[rendered.input_ids]
        most = getattr(asked.options, MOST, None) or self.most
        if isinstance(most, int) and most < len(found):
            found[np.argsort(-np.abs(found), kind="stable")[most:]] = 0
        return PoolingRequest(
            input_ids=rendered.input_ids,
            representations=(Representation(task, asked.params),),
            num_dropped_tokens=rendered.num_dropped_tokens,
            results=[found],
            is_ready=True,
        )


def static_query_weights(ctx: Context) -> StaticQueryWeights | None:
    """That of a model whose queries are embedded so; None for any other."""
    return (
        None
        if ctx.model.retrieval.static_query_weights is None
        else StaticQueryWeights(ctx, ctx.model.retrieval.static_query_weights)
    )


def by_table(table: StaticQueryWeights | None, asked: Asked) -> StaticQueryWeights | None:
    """Return the table if the prompts of a call are queries."""
    return table if table is not None and input_type(asked.options) == QUERY else None
