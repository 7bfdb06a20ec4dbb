"""llama-index: its embeddings and ranks for text-embeddings-inference, and its ranks for Jina.

Its embeddings for Jina are not tested: they ignore ``base_url`` and always use Jina's address.
"""

import asyncio

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from report import ADDRESS, DOCUMENTS, MODEL, QUERY, TEXTS, end, ranks, vectors

nodes = [NodeWithScore(node=TextNode(text=text, metadata={"index": index})) for index, text in enumerate(DOCUMENTS)]
for node in nodes:
    node.node.excluded_embed_metadata_keys = ["index"]
    node.node.excluded_llm_metadata_keys = ["index"]

for where in (ADDRESS, f"{ADDRESS}/tei"):
    model = TextEmbeddingsInference(model_name=MODEL, base_url=where, query_instruction="", text_instruction="")
    vectors(f"texts at {where}", TEXTS, model.get_text_embedding_batch(TEXTS))
    vectors(f"async texts at {where}", TEXTS, asyncio.run(model.aget_text_embedding_batch(TEXTS)))
    ranker = TextEmbeddingInference(base_url=where, model_name=MODEL, top_n=3)
    ranked = ranker.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    ranks(f"ranks at {where}", QUERY, DOCUMENTS, [(one.node.metadata["index"], one.score) for one in ranked])

for where in (f"{ADDRESS}/v1", f"{ADDRESS}/jina/v1"):
    ranker = JinaRerank(api_key="EMPTY", model=MODEL, base_url=where, top_n=3)
    ranked = ranker.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    ranks(f"ranks for Jina at {where}", QUERY, DOCUMENTS, [(one.node.metadata["index"], one.score) for one in ranked])
end()
