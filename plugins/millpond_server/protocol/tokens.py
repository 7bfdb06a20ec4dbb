"""``POST /tokenize`` and ``POST /detokenize``, as vLLM has them."""

from typing import Annotated

from pydantic import BaseModel, Field

from millpond_server.protocol.common import Body


class TokenizeRequest(Body):
    """A text whose tokens are wanted."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool = False


class TokenizeResponse(BaseModel):
    """Its tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Body):
    """Tokens whose text is wanted."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, lt=2**63, strict=True)]]


class DetokenizeResponse(BaseModel):
    """Their text."""

    prompt: str
