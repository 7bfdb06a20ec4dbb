"""What the routes of text-embeddings-inference answer, and those that speak two dialects."""

from pydantic import BaseModel, RootModel

from millpond_server.apis.tei.schemas import Rank
from millpond_server.apis.vllm.schemas import RerankResponse
from millpond_server.apis.vllm.token_schemas import TokenizeResponse


class Vectors(RootModel[list[list[float]]]):
    """One vector a text."""


class TokenVectors(RootModel[list[list[list[float]]]]):
    """One vector a token of each text."""


class Class(BaseModel):
    """A class and what the model gives it."""

    score: float
    label: str


class Classes(RootModel[list[Class] | list[list[Class]]]):
    """The classes of a text, most probable first; or those of each of several."""


class Likenesses(RootModel[list[float]]):
    """How like each sentence is."""


class Token(BaseModel):
    """A token and its place in the text; special tokens have none."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Tokens(RootModel[list[list[Token]]]):
    """The tokens of each text."""


class Texts(RootModel[list[str]]):
    """The text of each list of token ids."""


class AnyTokenizeResponse(RootModel[TokenizeResponse | list[list[Token]]]):
    """What ``prompt`` or ``inputs`` became."""


class AnyRerankResponse(RootModel[RerankResponse | list[Rank]]):
    """What ``documents`` or ``texts`` became."""
