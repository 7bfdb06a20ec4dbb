"""llama-index: its embeddings for servers with OpenAI's API."""

import asyncio

from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from report import ADDRESS, MODEL, TEXTS, end, vectors

model = OpenAILikeEmbedding(model_name=MODEL, api_base=f"{ADDRESS}/v1", api_key="EMPTY", embed_batch_size=2)
vectors("a text", TEXTS[:1], [model.get_text_embedding(TEXTS[0])])
vectors("a query", TEXTS[:1], [model.get_query_embedding(TEXTS[0])])
vectors("texts", TEXTS, model.get_text_embedding_batch(TEXTS))
vectors("async", TEXTS, asyncio.run(model.aget_text_embedding_batch(TEXTS)))
end()
