"""Fields that vLLM removed from its pooling routes: refused in its words, since they change results."""

from typing import Any

from pydantic import BaseModel, model_validator

from millpond.compat.removed import RemovedError, check_removed
from millpond_server.http.errors import ApiError


class WithoutRemoved(BaseModel):
    """A body that may not have the fields and tasks that vLLM removed."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_removed(cls, value: Any) -> Any:
        try:
            check_removed(value)
        except RemovedError as error:
            raise ApiError(400, str(error), parameter=error.parameter, reason="invalid") from error
        return value
