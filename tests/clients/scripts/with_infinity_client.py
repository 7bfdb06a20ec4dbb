"""infinity-client: the typed client of Infinity, with the address of the server alone and with the prefix /infinity."""

from infinity_client import Client
from infinity_client.api.default import embeddings, models, rerank
from infinity_client.models import OpenAIEmbeddingInputText, RerankInput
from report import ADDRESS, DOCUMENTS, MODEL, MODELS, QUERY, TEXTS, end, ranks, vectors

for where in (ADDRESS, f"{ADDRESS}/infinity"):
    client = Client(base_url=where)
    cards = models.sync(client=client).data
    assert [card.id for card in cards] == MODELS
    for card in cards:
        assert card.stats.to_dict().keys() == {"queue_fraction", "queue_absolute", "results_pending", "batch_size"}
    answer = embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=TEXTS, model=MODEL))
    assert (answer.model, answer.usage.total_tokens > 0) == (MODEL, True)
    vectors(f"embeddings at {where}", TEXTS, [item.embedding for item in answer.data])
    answer = embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=TEXTS[0]))
    vectors(f"a text without a model name at {where}", TEXTS[:1], [item.embedding for item in answer.data])
    body = RerankInput(query=QUERY, documents=DOCUMENTS, model=MODEL, return_documents=True)
    answer = rerank.sync(client=client, body=body)
    ranks(f"ranks at {where}", QUERY, DOCUMENTS, [(one.index, one.relevance_score) for one in answer.results])
end()
