"""Haystack: its components for Cohere, and those for Jina, which require `usage` and `detail` in responses."""

import os

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.embedders.cohere import CohereDocumentEmbedder, CohereTextEmbedder
from haystack_integrations.components.embedders.jina import JinaDocumentEmbedder, JinaTextEmbedder
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from report import ADDRESS, DOCUMENTS, MODEL, QUERY, TEXTS, end, ranks, refusal, vectors

os.environ["CO_API_URL"] = ADDRESS
key = {"api_key": Secret.from_token("EMPTY"), "model": MODEL}


def documents(texts):
    """Return documents with their index in the metadata."""
    return [Document(content=text, meta={"index": index}) for index, text in enumerate(texts)]


for where in (f"{ADDRESS}/v1", f"{ADDRESS}/jina/v1"):
    texts = JinaTextEmbedder(**key, base_url=f"{where}/embeddings", task="retrieval.query")
    answer = texts.run(text=TEXTS[0])
    vectors(f"a text for Jina at {where}", TEXTS[:1], [answer["embedding"]])
    assert answer["meta"]["usage"]["total_tokens"] > 0
    many = JinaDocumentEmbedder(**key, base_url=f"{where}/embeddings", dimensions=384, late_chunking=False)
    embedded = many.run(documents=documents(TEXTS))["documents"]
    vectors(f"documents for Jina at {where}", TEXTS, [document.embedding for document in embedded])
    ranker = JinaRanker(**key, base_url=f"{where}/rerank", top_k=3)
    ranked = ranker.run(query=QUERY, documents=documents(DOCUMENTS))["documents"]
    ranks(f"ranks for Jina at {where}", QUERY, DOCUMENTS, [(one.meta["index"], one.score) for one in ranked])

long = JinaTextEmbedder(**key, base_url=f"{ADDRESS}/v1/embeddings")
refusal(Exception, lambda: long.run(text="tea " * 600), "maximum context length")

answer = CohereTextEmbedder(**key, api_base_url=ADDRESS, input_type="search_query").run(text=TEXTS[0])
vectors("a text for Cohere", TEXTS[:1], [answer["embedding"]])
embedded = CohereDocumentEmbedder(**key, api_base_url=ADDRESS).run(documents=documents(TEXTS))["documents"]
vectors("documents for Cohere", TEXTS, [document.embedding for document in embedded])
ranker = CohereRanker(**key, api_base_url=ADDRESS, top_k=3)
ranked = ranker.run(query=QUERY, documents=documents(DOCUMENTS))["documents"]
ranks("ranks for Cohere", QUERY, DOCUMENTS, [(one.meta["index"], one.score) for one in ranked])
end()
