"""openai for Python: embeddings with every input type and encoding, models, errors; sync and async."""

import asyncio

import openai
from report import ADDRESS, IDS, MODEL, MODELS, TEXTS, end, refusal, vectors

LONG_TEXT = "tea " * 600
client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="EMPTY", max_retries=0)


def ask(inputs, **more):
    """Return the vectors of one request."""
    response = client.embeddings.create(input=inputs, model=MODEL, **more)
    assert (response.object, response.model) == ("list", MODEL)
    assert response.usage.prompt_tokens == response.usage.total_tokens > 0
    assert [item.index for item in response.data] == list(range(len(response.data)))
    return [item.embedding for item in response.data]


vectors("a text", TEXTS[:1], ask(TEXTS[0]))
vectors("texts", TEXTS, ask(TEXTS))
vectors("token ids", [IDS], ask(IDS))
vectors("lists of token ids", [IDS, IDS[:-1]], ask([IDS, IDS[:-1]]))
vectors("numbers", TEXTS, ask(TEXTS, encoding_format="float"))
vectors("its full size", TEXTS, ask(TEXTS, dimensions=384, user="somebody"))
vectors("fields of vLLM", TEXTS, ask(TEXTS, extra_body={"truncate_prompt_tokens": -1, "priority": 1}))
coded = client.embeddings.create(input=TEXTS, model=MODEL, encoding_format="base64")
assert all(isinstance(item.embedding, str) for item in coded.data)

# A request without a method of the client, as in vLLM's documentation.
conversation = client.post(
    "/embeddings",
    cast_to=openai.types.CreateEmbeddingResponse,
    body={"messages": [{"role": "user", "content": TEXTS[0]}], "model": MODEL, "encoding_format": "float"},
)
vectors("a conversation", TEXTS[:1], [conversation.data[0].embedding])

raw = client.embeddings.with_raw_response.create(input=TEXTS, model=MODEL)
assert raw.headers["x-request-id"] == raw.request_id
assert raw.parse().data[0].index == 0
named = client.embeddings.with_raw_response.create(input="a", model=MODEL, extra_headers={"x-request-id": "mine-1"})
assert named.request_id == "mine-1"

assert [model.id for model in client.models.list()] == MODELS
shown = client.models.retrieve(MODEL)
assert (shown.id, shown.object, shown.owned_by, shown.created > 0) == (MODEL, "model", "millpond", True)

error = refusal(openai.NotFoundError, lambda: client.embeddings.create(input="a", model="org/nope"), "org/nope")
assert error.status_code == 404
assert error.request_id
assert (error.type, error.code) == ("NotFoundError", 404) or error.body["code"] == 404
refusal(openai.NotFoundError, lambda: client.models.retrieve("org/nope"), "org/nope")
error = refusal(openai.BadRequestError, lambda: client.embeddings.create(input=LONG_TEXT, model=MODEL), "256")
assert "maximum context length" in error.body["message"]
refusal(openai.BadRequestError, lambda: client.embeddings.create(input="", model=MODEL), "empty")
refusal(openai.BadRequestError, lambda: client.embeddings.create(input=[], model=MODEL))
refusal(openai.BadRequestError, lambda: client.embeddings.create(input=[30522], model=MODEL), "30522", "30521")
refusal(openai.BadRequestError, lambda: client.embeddings.create(input="a", model=MODEL, dimensions=100), "100")
refusal(openai.APIStatusError, lambda: client.embeddings.create(input=["a"] * 2049, model=MODEL), "2049")
refusal(openai.NotFoundError, lambda: client.completions.create(prompt="a", model=MODEL))


async def at_once():
    """Report the results of many concurrent requests."""
    async with openai.AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key="EMPTY") as many:
        calls = [many.embeddings.create(input=text, model=MODEL) for text in TEXTS * 8]
        answers = await asyncio.gather(*calls)
        page = await many.models.list()
        assert [model.id for model in page.data] == MODELS
        vectors("at once", TEXTS * 8, [answer.data[0].embedding for answer in answers])


asyncio.run(at_once())
end()
