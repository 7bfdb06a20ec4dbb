"""huggingface_hub: its InferenceClient with the address of a server, as for text-embeddings-inference."""

import asyncio

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from report import ADDRESS, TEXTS, end, refusal, vectors

for path in ("", "/embed", "/tei/embed"):
    client = InferenceClient(model=f"{ADDRESS}{path}")
    vector = client.feature_extraction(TEXTS[0])
    assert vector.shape == (1, 384)
    vectors(f"a text at {path or '/'}", TEXTS[:1], vector)
    vectors(f"options at {path or '/'}", TEXTS[:1], client.feature_extraction(TEXTS[0], normalize=True, truncate=True))
    vectors(f"texts at {path or '/'}", TEXTS, client.feature_extraction(TEXTS))

client = InferenceClient(model=f"{ADDRESS}/embed")
cut = client.feature_extraction("tea " * 600, truncate=True, truncation_direction="Left")
assert cut.shape == (1, 384)
error = refusal(HfHubHTTPError, lambda: client.feature_extraction("tea " * 600, truncate=False))
assert error.response.status_code == 422
assert error.response.headers["x-request-id"]
assert "256" in error.response.json()["error"]
similarities = InferenceClient(model=f"{ADDRESS}/similarity").sentence_similarity(TEXTS[0], other_sentences=TEXTS)
assert abs(similarities[0] - 1) < 1e-5
assert max(similarities[1:]) < 0.9


async def at_once():
    """Report the results of the asynchronous client."""
    async with AsyncInferenceClient(model=f"{ADDRESS}/embed") as many:
        vectors("async", TEXTS, await many.feature_extraction(TEXTS))


asyncio.run(at_once())
end()
