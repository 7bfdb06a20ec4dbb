"""openai and cohere: texts with images; writes vectors and scores as JSON. Arguments: address, a data: URL."""

import json
import sys

import cohere
import openai

ADDRESS, URL = sys.argv[1:]
TEXT = {"type": "text", "text": "water"}
IMAGE = {"type": "image_url", "image_url": {"url": URL}}


def by_openai():
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none", max_retries=0)

    def posted(path, **body):
        return client.post(path, cast_to=object, body={"model": "any", **body})

    def vector(*parts):
        body = {"messages": [{"role": "user", "content": list(parts)}], "encoding_format": "float", "model": "any"}
        return client.post("/embeddings", cast_to=openai.types.CreateEmbeddingResponse, body=body).data[0].embedding

    ranked = posted("/rerank", query="water", documents=["a mill", {"content": [TEXT, IMAGE]}])
    return {
        "vectors": {"both": vector(TEXT, IMAGE), "image": vector(IMAGE), "text": vector(TEXT)},
        "scores": {str(item["index"]): item["relevance_score"] for item in ranked["results"]},
    }


def by_cohere():
    client = cohere.ClientV2(base_url=ADDRESS, api_key="none")

    def vector(**request):
        request = {"input_type": "search_document", **request}
        return client.embed(model="any", embedding_types=["float"], **request).embeddings.float_[0]

    vectors = {
        "both": vector(inputs=[cohere.EmbedInput(content=[TEXT, IMAGE])]),
        "image": vector(images=[URL], input_type="image"),
        "text": vector(texts=["water"]),
    }
    documents = ["a mill", {"content": [TEXT, IMAGE]}]
    ranked = client.rerank(model="any", query="water", documents=documents)
    return {"vectors": vectors, "scores": {str(item.index): item.relevance_score for item in ranked.results}}


json.dump({"openai": by_openai(), "cohere": by_cohere()}, sys.stdout)
