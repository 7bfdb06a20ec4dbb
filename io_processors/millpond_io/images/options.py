"""Checks of image options (``mm_processor_kwargs``) and the choice between those of the model and of a prompt."""

from collections.abc import Iterator, Mapping

from millpond.types.errors import InvalidInputError
from millpond_modeling.images import PARAMETER, ImageOption, ImageOptions, ImageReader

NESTED = "images_kwargs"  # the key of options of images for transformers' processors
MIN_PREFIX, MAX_PREFIX = "min_", "max_"
MAX_SHOWN_CHARS = 50  # the part of a caller's value in an error


def chosen_options(reader: ImageReader, asked: ImageOptions | None) -> dict[str, int]:
    """Return the options of an image reader that the prompt or the loaded model sets; the prompt has precedence.

    Args:
        reader: The image reader.
        asked: The options of the prompt.

    Raises:
        InvalidInputError: If a name is unknown, a value is invalid, or images would become larger than allowed.
    """
    loaded = reader.ctx.inputs.mm_processor_kwargs
    if not loaded and (asked is None or not asked.values):
        return {}
    known, synonyms = reader.options, reader.synonyms
    options = _checked(known, synonyms, loaded)
    if asked is not None:
        requested = _checked(known, synonyms, asked.values)
        if not asked.may_grow:
            _check_growth(known, options, requested)
        options |= requested
    _check_order({**{name: option.value for name, option in known.items()}, **options}, options)
    return options


def _checked(
    known: Mapping[str, ImageOption], synonyms: Mapping[str, str], values: Mapping[str, object]
) -> dict[str, int]:
    options: dict[str, int] = {}
    for stated, asked in _flat(values):
        name = synonyms.get(stated, stated)
        option = known.get(name)
        if option is None:
            available = ", ".join([*known, *(each for each in synonyms if synonyms[each] in known)])
            message = (
                f"{PARAMETER}: this model has no image option {stated[:MAX_SHOWN_CHARS]!r}. "
                f"Available: {available or 'none'}"
            )
            raise InvalidInputError(message, parameter=PARAMETER)
        value = _fitting(stated, asked, option)
        if options.setdefault(name, value) != value:
            message = f"{PARAMETER}: {name} is set twice, to {options[name]} and to {value}"
            raise InvalidInputError(message, parameter=PARAMETER)
    return options


def _flat(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield names and values that are not None; nested names are joined with a dot."""
    inner = values.get(NESTED)
    outer = values
    if isinstance(inner, Mapping):
        outer = {name: value for name, value in values.items() if name != NESTED}
        yield from _parts(inner)
    yield from _parts(outer)


def _parts(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        each = (
            {f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, Mapping) else {name: value}
        )
        yield from ((str(stated), inner) for stated, inner in each.items() if inner is not None)


def _fitting(name: str, value: object, option: ImageOption) -> int:
    if isinstance(option.value, bool):
        if isinstance(value, bool):
            return value
        expected = "true or false"
    else:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= option.most:
            return value
        expected = f"an integer from 1 to {option.most}"
    message = f"{PARAMETER}: {name} must be {expected}; got {_brief(value)}"
    raise InvalidInputError(message, parameter=PARAMETER)


def _brief(value: object) -> str:
    """Return the text of a value for errors, limited in length."""
    if isinstance(value, str):
        return repr(value[:MAX_SHOWN_CHARS])
    is_short = isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() <= MAX_SHOWN_CHARS)
    return str(value) if is_short else type(value).__name__


def _check_growth(known: Mapping[str, ImageOption], loaded: Mapping[str, int], requested: Mapping[str, int]) -> None:
    for name, value in requested.items():
        limit = loaded.get(name, known[name].value)
        if value > limit:
            message = (
                f"{PARAMETER}: {name} may be at most {_shown(limit)}, got {_shown(value)}: a request can make images "
                "smaller, but not larger than the setting of the loaded model"
            )
            raise InvalidInputError(message, parameter=PARAMETER)


def _check_order(values: Mapping[str, int], stated: Mapping[str, int]) -> None:
    """Raise InvalidInputError if a minimum is above its maximum and one of them was set."""
    for name, maximum in values.items():
        other = MIN_PREFIX + name.removeprefix(MAX_PREFIX)
        if name.startswith(MAX_PREFIX) and (name in stated or other in stated) and values.get(other, maximum) > maximum:
            message = f"{PARAMETER}: {other}, {values[other]}, is above {name}, {maximum}"
            raise InvalidInputError(message, parameter=PARAMETER)


def _shown(value: int) -> str:
    return str(value).lower()
