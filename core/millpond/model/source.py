"""Finds the folder of a model by name: asks the sources of all plugins, one after the other."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.model.repository import Repository
from millpond.plugin.blame import described
from millpond.types.errors import ModelNotFoundError, UnknownNameError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.model.layers import Layer
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import SourceSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """The options that a source receives in addition to the model's name.

    Attributes:
        revision: The branch, tag or commit.
        token: The access token of a hub.
        download_dir: The folder for downloads.
        allow_pickle: True if weights may be pickles.
    """

    revision: str | None = None
    token: str | bool | None = None
    download_dir: str | None = None
    allow_pickle: bool = False


class ModelReference(ABC):
    """A file that names a model and states settings of it; a source returns it in place of a folder."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the model."""

    @property
    @abstractmethod
    def revision(self) -> str | None:
        """The branch, tag or commit of the model; None for the default."""

    @abstractmethod
    def stated(self, repository: Repository) -> "tuple[Layer, ...]":
        """Return the layers that take precedence over the files of the model, of all routes.

        Raises:
            CheckpointError: If they do not fit the model.
        """


def find_repository(registry: "Registry", model: "str | PathLike[str]", options: SourceOptions) -> Repository:
    """Find the folder of a model's files.

    A name with the scheme of a source (``package:NAME``) is looked up only in that source; other names are looked up
    in all sources, by priority. A source may return a reference to another model.

    Raises:
        ModelNotFoundError: If no source has the model; the message lists the answer of each source.
        CheckpointError: If the reference is invalid, or does not fit the model.
    """
    answer = _ask_sources(registry, fspath(model) if isinstance(model, PathLike) else model, options)
    if isinstance(answer, Repository):
        return answer
    repository = _ask_sources(registry, answer.name, replace(options, revision=options.revision or answer.revision))
    if not isinstance(repository, Repository):
        message = f"{model} names {answer.name!r}, which names another model: name that model"
        raise ModelNotFoundError(message)
    return replace(repository, stated=answer.stated(repository))


def _ask_sources(registry: "Registry", model: object, options: SourceOptions) -> "Repository | ModelReference":
    """Return the folder of a model, or the reference to another one, from the first source that has it.

    Raises:
        ModelNotFoundError: If no source has the model.
    """
    if not isinstance(model, str) or not model.strip() or "\0" in model:
        message = f"the model's name must be a folder or an id such as 'org/name'; got {model!r}"
        raise ModelNotFoundError(message)
    scheme, colon, rest = model.partition(":")
    has_scheme = bool(colon) and scheme in registry.sources
    if has_scheme and not rest.strip():
        message = f"{model!r} names a source but no model: write {scheme}:NAME"
        raise ModelNotFoundError(message)
    answers: list[str] = []
    for entry in [registry.sources.get(scheme)] if has_scheme else registry.sources.by_priority():
        answer = _answer(entry, rest if has_scheme else model, options)
        if isinstance(answer, ModelReference):
            return answer
        if isinstance(answer, Path):
            return Repository(model, answer, entry.spec.name, revision=options.revision, plugins=registry)
        answers.append(f"\n  {entry.spec.name}: {answer}")
    scheme_hint = _scheme_hint(scheme, registry.sources.names()) if colon and not has_scheme else ""
    hint = "Pass the path of a folder that contains config.json and the weights."
    message = f"no source has the model {model!r}:{''.join(answers)}\n{scheme_hint}{hint}"
    raise ModelNotFoundError(message)


def _answer(entry: "Entry[SourceSpec]", name: str, options: SourceOptions) -> "Path | ModelReference | str":
    """Return what a source returns; in place of None, of an invalid value and of an error, the reason."""
    try:
        answer: Any = entry.load()(name, options)
    except (OSError, UnknownNameError) as error:  # ModelNotFoundError is one of them
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a failing source must not hide the models of other sources
        logger.warning("%s failed: %s", entry.label, quoted(error))
        return f"{entry.label} failed: {quoted(error)}"
    if answer is None:
        return "has no model of that name"
    if isinstance(answer, ModelReference):
        return answer
    fault = _fault(answer)
    if fault is None:
        return Path(answer)
    logger.warning("%s returned %r, which %s", entry.label, answer, fault)
    return f"{entry.label} returned {answer!r}, which {fault}"


def _scheme_hint(scheme: str, sources: "Iterable[str]") -> str:
    """A line of the error message for a scheme that is not a source."""
    names = list(sources)
    close = get_close_matches(scheme.lower(), names, n=1)
    hint = f"; did you mean '{close[0]}:'?" if close else f". Available: {', '.join(f'{name}:' for name in names)}."
    return f"No source is called {scheme!r}{hint}\n"


def _fault(path: object) -> str | None:
    """The reason why the value that a source returned is not a folder; None if it is one."""
    if not isinstance(path, str | PathLike):
        return f"is {described(path)} and not a path: a source returns the folder of the model, or None"
    if not Path(path).exists():
        return "does not exist: a source returns the folder of the model, or None"
    if not Path(path).is_dir():
        return "is not a folder: a source returns the folder of the model, or None"
    return None
