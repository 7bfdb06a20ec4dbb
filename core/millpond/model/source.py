"""Finds the folder of a model by name: asks the sources of all plugins, one after the other."""

import logging
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.model.model_file import ModelFile, is_model_file
from millpond.model.repository import Repository
from millpond.plugin.blame import described
from millpond.types.errors import ModelNotFoundError, UnknownNameError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.plugin.registry import Registry

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


def find_repository(registry: "Registry", model: "str | PathLike[str]", options: SourceOptions) -> Repository:
    """Find the folder of a model's files.

    A name with the scheme of a source (``package:NAME``) is looked up only in that source; other names are looked up
    in all sources, by priority. A model file states the name of its model, and settings.

    Raises:
        ModelNotFoundError: If no source has the model; the message lists the answer of each source.
        CheckpointError: If the model file is invalid, or was written for other files.
    """
    model = fspath(model) if isinstance(model, PathLike) else model
    if not isinstance(model, str) or not is_model_file(model):
        return _find(registry, model, options)
    file = ModelFile(Path(model).expanduser())
    repository = _find(registry, file.name, replace(options, revision=options.revision or file.revision))
    return replace(repository, stated=file.stated(repository))


def _find(registry: "Registry", model: object, options: SourceOptions) -> Repository:
    """Find the folder of a model by its name.

    Raises:
        ModelNotFoundError: If no source has the model.
    """
    if not isinstance(model, str) or not model.strip() or "\0" in model:
        message = f"the model's name must be a folder or an id such as 'org/name'; got {model!r}"
        raise ModelNotFoundError(message)
    scheme, colon, rest = model.partition(":")
    if colon and scheme in registry.sources:
        entries, name = [registry.sources.get(scheme)], rest
        if not rest.strip():
            message = f"{model!r} names a source but no model: write {scheme}:NAME"
            raise ModelNotFoundError(message)
    else:
        entries, name = list(registry.sources.by_priority()), model
    answers: list[str] = []
    for entry in entries:
        try:
            path: Any = entry.load()(name, options)
        except (OSError, UnknownNameError) as error:  # ModelNotFoundError is one of them
            answers.append(f"{entry.spec.name}: {error}")
            continue
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a failing source must not hide the models of other sources
            logger.warning("%s failed: %s", entry.label, quoted(error))
            answers.append(f"{entry.spec.name}: {entry.label} failed: {quoted(error)}")
            continue
        if path is None:
            answers.append(f"{entry.spec.name}: has no model of that name")
        elif (fault := _fault(path)) is not None:
            logger.warning("%s returned %r, which %s", entry.label, path, fault)
            answers.append(f"{entry.spec.name}: {entry.label} returned {path!r}, which {fault}")
        else:
            return Repository(model, Path(path), entry.spec.name, revision=options.revision, plugins=registry)
    is_unknown = colon and scheme not in registry.sources
    scheme_hint = _scheme_hint(scheme, registry.sources.names()) if is_unknown else ""
    tried = "".join(f"\n  {answer}" for answer in answers)
    hint = "Pass the path of a folder that contains config.json and the weights."
    message = f"no source has the model {model!r}:{tried}\n{scheme_hint}{hint}"
    raise ModelNotFoundError(message)


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
