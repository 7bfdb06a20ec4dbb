"""The HTTP server: Starlette on uvicorn, with the APIs of OpenAI, vLLM, Cohere, Jina, Infinity and TEI."""
