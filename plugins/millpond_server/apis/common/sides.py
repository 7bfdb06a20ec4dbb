"""Whether texts of a body are queries or documents, in the words of several clients."""

from millpond import AsyncLLM
from millpond_server.apis.common.schemas import Body
from millpond_server.http.errors import ApiError

SIDES = {"query": "query", "search_query": "query", "document": "document", "search_document": "document"}
SIDES["passage"] = SIDES["document"]


class Sides(Body):
    """What is said of a body's texts.

    Attributes:
        input_type: "query" or "document", and what other clients call them; others mean neither.
        is_query: The same as true or false.
    """

    input_type: str | None = None
    is_query: bool | None = None

    def side(self, llm: AsyncLLM) -> str | None:
        """The side that is meant, of a model that reads the two in different ways; else None.

        Raises:
            ApiError: 400, if both fields are given and disagree.
        """
        named = SIDES.get(self.input_type or "")
        told = {True: "query", False: "document", None: None}[self.is_query]
        if None not in (named, told) and named != told:
            message = f"is_query={self.is_query} and input_type={self.input_type!r} disagree: pass one of them"
            raise ApiError(400, message, parameter="is_query", reason="invalid")
        return (named or told) if llm.model_config.tells_sides else None
