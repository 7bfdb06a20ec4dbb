"""Bodies of OpenAI's files and batches."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator

WINDOW = re.compile(r"(?P<number>[1-9][0-9]{0,4})(?P<unit>[smhd])")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class BatchRequest(BaseModel):
    """A new batch."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None, Field(max_length=16)
    ] = None

    @field_validator("completion_window")
    @classmethod
    def _check_window(cls, window: str) -> str:
        if WINDOW.fullmatch(window) is None:
            message = "expected a number of seconds, minutes, hours or days, such as '24h'"
            raise ValueError(message)
        return window

    @property
    def seconds(self) -> int:
        """The completion window in seconds."""
        match = WINDOW.fullmatch(self.completion_window)
        return 0 if match is None else int(match["number"]) * UNIT_SECONDS[match["unit"]]


class FileUpload(BaseModel):
    """The fields of the form of an upload."""

    file: Annotated[bytes, Field(json_schema_extra={"format": "binary"})]
    purpose: Literal["batch"]


class FileObject(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: str
    status_details: str | None


class FileDeleted(BaseModel):
    """The result of a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchObject(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: dict[str, int]
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
