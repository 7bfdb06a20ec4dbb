"""langchain-openai: texts, and the token ids that it sends by default."""

import asyncio

from langchain_openai import OpenAIEmbeddings
from openai import BadRequestError
from report import ADDRESS, MODEL, TEXTS, end, refusal, vectors

where = {"model": MODEL, "base_url": f"{ADDRESS}/v1", "api_key": "EMPTY"}
plain = OpenAIEmbeddings(**where, check_embedding_ctx_length=False)
vectors("documents", TEXTS, plain.embed_documents(TEXTS))
vectors("a query", TEXTS[:1], [plain.embed_query(TEXTS[0])])
vectors("async", TEXTS, asyncio.run(plain.aembed_documents(TEXTS)))
sized = OpenAIEmbeddings(**where, check_embedding_ctx_length=False, dimensions=384)
vectors("its full size", TEXTS, sized.embed_documents(TEXTS))

# By default it sends ids of OpenAI's vocabulary. Ids that MiniLM does not have are refused with their number.
usual = OpenAIEmbeddings(**where)
vectors("token ids of another vocabulary", [[15339, 1917]], usual.embed_documents(["hello world"]))
refusal(BadRequestError, lambda: usual.embed_documents([TEXTS[2]]), "61696", "30521")
end()
