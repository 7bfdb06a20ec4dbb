"""langchain-cohere: embeddings with Cohere's first API, ranks with its second."""

from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.documents import Document
from report import ADDRESS, DOCUMENTS, MODEL, QUERY, TEXTS, end, ranks, vectors

embeddings = CohereEmbeddings(model=MODEL, base_url=ADDRESS, cohere_api_key="EMPTY")
vectors("documents", TEXTS, embeddings.embed_documents(TEXTS))
vectors("a query", TEXTS[:1], [embeddings.embed_query(TEXTS[0])])
reranker = CohereRerank(model=MODEL, base_url=ADDRESS, cohere_api_key="EMPTY", top_n=3)
ranked = reranker.rerank(DOCUMENTS, QUERY)
ranks("ranks", QUERY, DOCUMENTS, [(one["index"], one["relevance_score"]) for one in ranked])
documents = [Document(page_content=text, metadata={"index": index}) for index, text in enumerate(DOCUMENTS)]
ranked = reranker.compress_documents(documents, QUERY)
pairs = [(one.metadata["index"], one.metadata["relevance_score"]) for one in ranked]
ranks("documents of langchain", QUERY, DOCUMENTS, pairs)
end()
