"""``POST /tokenize`` at the root: ``prompt``, as vLLM has it, or ``inputs``, as text-embeddings-inference has."""

from typing import Annotated, Any

from pydantic import Discriminator, RootModel, Tag

from millpond_server.apis.tei.schemas import TeiTokenizeRequest
from millpond_server.apis.vllm.token_schemas import TokenizeRequest


def _dialect(value: Any) -> str:
    inputs = value.get("inputs") if isinstance(value, dict) else getattr(value, "inputs", None)
    return "inputs" if inputs is not None else "prompt"


class AnyTokenizeRequest(
    RootModel[
        Annotated[
            Annotated[TokenizeRequest, Tag("prompt")] | Annotated[TeiTokenizeRequest, Tag("inputs")],
            Discriminator(_dialect),
        ]
    ]
):
    """A text under ``prompt``, or texts under ``inputs``."""
