"""litellm: the providers whose APIs Millpond supports."""

import litellm
from report import ADDRESS, DOCUMENTS, IDS, MODEL, QUERY, TEXTS, end, ranks, refusal, vectors

litellm.suppress_debug_info = True  # it would write to stdout, like this script
EMBEDDERS = {
    "hosted_vllm": f"{ADDRESS}/v1",
    "openai": f"{ADDRESS}/v1",
    "infinity": f"{ADDRESS}",
    "jina_ai": f"{ADDRESS}/v1",
    "openai_like": f"{ADDRESS}/v1",
    "cohere": f"{ADDRESS}/v2/embed",
}
RERANKERS = {
    "hosted_vllm": f"{ADDRESS}",
    "infinity": f"{ADDRESS}/infinity",
    "jina_ai": f"{ADDRESS}",
    "cohere": f"{ADDRESS}",
}
for provider, base in EMBEDDERS.items():
    answer = litellm.embedding(model=f"{provider}/{MODEL}", input=TEXTS, api_base=base, api_key="EMPTY")
    vectors(provider, TEXTS, [item["embedding"] for item in answer.data])
    assert answer.usage.prompt_tokens > 0
answer = litellm.embedding(
    model=f"infinity/{MODEL}", input=TEXTS, api_base=f"{ADDRESS}/infinity", api_key="EMPTY", dimensions=384
)
vectors("infinity, under its prefix", TEXTS, [item["embedding"] for item in answer.data])
answer = litellm.embedding(model=f"hosted_vllm/{MODEL}", input=[IDS], api_base=f"{ADDRESS}/v1")
vectors("token ids, without a key", [IDS], [item["embedding"] for item in answer.data])

for provider, base in RERANKERS.items():
    for returned in (True, False):
        answer = litellm.rerank(
            model=f"{provider}/{MODEL}",
            query=QUERY,
            documents=DOCUMENTS,
            top_n=3,
            return_documents=returned,
            api_base=base,
            api_key="EMPTY",
        )
        ranked = [(one["index"], one["relevance_score"]) for one in answer.results]
        ranks(f"{provider}, {returned}", QUERY, DOCUMENTS, ranked)
        assert len(ranked) == 3
        if returned:
            texts = [one["document"]["text"] for one in answer.results]
            assert texts == [DOCUMENTS[index] for index, _ in ranked]

call = {"api_base": f"{ADDRESS}/v1", "api_key": "EMPTY"}
refusal(litellm.NotFoundError, lambda: litellm.embedding(model="hosted_vllm/nope", input=TEXTS, **call), "nope")
refusal(
    litellm.BadRequestError,
    lambda: litellm.embedding(model=f"hosted_vllm/{MODEL}", input=["tea " * 600], **call),
    "256",
)
end()
