"""requests: the examples in vLLM's documentation of its own routes, with a different model."""

import requests
from report import ADDRESS, DOCUMENTS, MODEL, QUERY, TEXTS, end, ranks, vectors

answer = requests.post(f"{ADDRESS}/pooling", json={"model": MODEL, "input": TEXTS}, timeout=30)
vectors("pooling", TEXTS, [output["data"] for output in answer.json()["data"]])
body = {"model": MODEL, "text_1": QUERY, "text_2": DOCUMENTS}
answer = requests.post(f"{ADDRESS}/score", headers={"User-Agent": "Test Client"}, json=body, timeout=30)
scores = [item["score"] for item in answer.json()["data"]]
ranks("scores", QUERY, DOCUMENTS, sorted(enumerate(scores), key=lambda pair: -pair[1]))
body = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS}
answer = requests.post(f"{ADDRESS}/rerank", headers={"accept": "application/json"}, json=body, timeout=30)
ranked = [(one["index"], one["relevance_score"]) for one in answer.json()["results"]]
ranks("ranks", QUERY, DOCUMENTS, ranked)
end()
