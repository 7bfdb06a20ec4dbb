"""From a model's name to its folder: the sources that plugins brought are asked, one after the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.errors import ModelNotFoundError
from millpond.loading.repository import Repository

if TYPE_CHECKING:
    from millpond.registry import Entry, Registry
    from millpond.specs import SourceSpec


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a source is told beside the model's name.

    Attributes:
        revision: The branch, tag or commit.
        token: The access token of a hub.
        download_dir: The folder that downloads are kept in.
        allow_pickle: Whether weights may be pickles.
    """

    revision: str | None = None
    token: str | bool | None = None
    download_dir: str | None = None
    allow_pickle: bool = False


def find_repository(registry: "Registry", model: str, options: SourceOptions) -> Repository:
    """The folder of a model's files.

    A name with the scheme of a source (``package:NAME``) is asked of that source alone, any other of all sources
    in the order of their priority.

    Raises:
        ModelNotFoundError: If no source has it; says what each of them answered.
    """
    if not isinstance(model, str) or not model.strip() or "\0" in model:
        message = f"the model's name should be a folder or an id such as 'org/name'; got {model!r}"
        raise ModelNotFoundError(message)
    scheme, colon, rest = model.partition(":")
    if colon and scheme in registry.sources:
        entries, name = [registry.sources.get(scheme)], rest
    else:
        entries, name = sorted(_winners(registry), key=lambda entry: -entry.spec.priority), model
    answers: list[str] = []
    for entry in entries:
        try:
            path: Path | None = entry.load()(name, options)
        except ModelNotFoundError as error:
            answers.append(f"{entry.spec.name}: {error}")
            continue
        if path is not None:
            return Repository(model=model, path=Path(path), source=entry.spec.name)
        answers.append(f"{entry.spec.name}: has no model of that name")
    tried = "".join(f"\n  {answer}" for answer in answers)
    message = (
        f"no source has the model {model!r}:{tried}\nPass the path of a folder that holds config.json and the weights."
    )
    raise ModelNotFoundError(message)


def _winners(registry: "Registry") -> "list[Entry[SourceSpec]]":
    return [registry.sources.get(name) for name in registry.sources.names()]
