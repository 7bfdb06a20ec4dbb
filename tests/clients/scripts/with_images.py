"""openai and cohere: images; writes the vectors as JSON. Arguments: address, a data: URL."""

import json
import sys

import cohere
import openai

ADDRESS, URL = sys.argv[1:]
TEXT = {"type": "text", "text": "water"}
IMAGE = {"type": "image_url", "image_url": {"url": URL}}


def by_openai():
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none", max_retries=0)

    def messages(*parts, **more):
        body = {"messages": [{"role": "user", "content": list(parts)}], "encoding_format": "float", **more}
        answer = client.post("/embeddings", cast_to=openai.types.CreateEmbeddingResponse, body=body)
        return answer.data[0].embedding

    results = {"image": messages(IMAGE), "text": messages(TEXT), "both": messages(TEXT, IMAGE, mixed="mean")}
    results["image as input"] = client.embeddings.create(model="any", input=[{"image": URL}]).data[0].embedding
    try:
        messages(TEXT, IMAGE)
    except openai.BadRequestError as error:
        results["refused"] = error.body["message"]
    return results


def by_cohere():
    client = cohere.ClientV2(base_url=ADDRESS, api_key="none")

    def embed(**asked):
        answer = client.embed(model="any", embedding_types=["float"], **asked)
        return answer.embeddings.float_[0]

    both = cohere.EmbedInput(content=[TEXT, IMAGE])
    results = {
        "image": embed(images=[URL], input_type="image"),
        "text": embed(texts=["water"], input_type="search_query"),
        "input": embed(inputs=[cohere.EmbedInput(content=[IMAGE])], input_type="search_document"),
        "both": embed(inputs=[both], input_type="search_document"),
    }
    try:
        options = {"additional_body_parameters": {"mixed": "error"}}
        embed(inputs=[both], input_type="search_document", request_options=options)
    except cohere.BadRequestError as error:
        results["refused"] = error.body["message"]
    return results


json.dump({"openai": by_openai(), "cohere": by_cohere()}, sys.stdout)
