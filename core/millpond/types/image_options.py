"""How large a model reads images, where who loads it or asks it says so: ``mm_processor_kwargs`` and its checks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from millpond.types.errors import InvalidInputError

PARAMETER = "mm_processor_kwargs"
NESTED = "images_kwargs"  # under which transformers' processors have what is for images
LEAST, MOST = "min_", "max_"
LONGEST = 50  # of what somebody wrote, in an error


@dataclass(frozen=True)
class ImageOption:
    """A number that says how large images are read: the more, the larger. Or a flag, which makes them so.

    Attributes:
        value: What it is where nobody says; a flag's is a bool.
        most: The most that it may be.
    """

    value: int
    most: int = 1


@dataclass(frozen=True)
class ImageOptions:
    """What a prompt asks of its images, not yet checked.

    Attributes:
        values: By the names of the options.
        may_grow: Whether images may become larger by it than the model was loaded to read them; not where somebody else
            than the program asks.
    """

    values: Mapping[str, object]
    may_grow: bool = True


def chosen_options(
    known: Mapping[str, ImageOption],
    synonyms: Mapping[str, str],
    loaded: Mapping[str, object],
    asked: ImageOptions | None,
) -> dict[str, int]:
    """What is chosen of a reader's options: by the prompt, else by who loaded the model; nothing of what neither says.

    Args:
        known: The options, by name.
        synonyms: Other names of them; those of parts have a dot, such as ``size.longest_edge``.
        loaded: What the model was loaded with.
        asked: What the prompt asks.

    Raises:
        InvalidInputError: If a name is not known, a value does not fit, or images would grow that may not.
    """
    made = _checked(known, synonyms, loaded)
    if asked is not None:
        wanted = _checked(known, synonyms, asked.values)
        if not asked.may_grow:
            _check_growth(known, made, wanted)
        made |= wanted
    _check_order({**{name: option.value for name, option in known.items()}, **made}, made)
    return made


def _checked(
    known: Mapping[str, ImageOption], synonyms: Mapping[str, str], given: Mapping[str, object]
) -> dict[str, int]:
    made: dict[str, int] = {}
    for stated, asked in _flat(given):
        name = synonyms.get(stated, stated)
        option = known.get(name)
        if option is None:
            there = ", ".join([*known, *(each for each in synonyms if synonyms[each] in known)])
            message = (
                f"{PARAMETER}: images of this model have no option {stated[:LONGEST]!r}; there are: {there or 'none'}"
            )
            raise InvalidInputError(message, parameter=PARAMETER)
        value = _fitting(stated, asked, option)
        if made.setdefault(name, value) != value:
            message = f"{PARAMETER}: {name} is given twice, as {made[name]} and as {value}"
            raise InvalidInputError(message, parameter=PARAMETER)
    return made


def _flat(given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Names and values, those of parts with a dot between; what is None is not given."""
    inner = given.get(NESTED)
    outer = given
    if isinstance(inner, Mapping):
        outer = {name: value for name, value in given.items() if name != NESTED}
        yield from _parts(inner)
    yield from _parts(outer)


def _parts(given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in given.items():
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
        expected = f"a whole number from 1 to {option.most}"
    message = f"{PARAMETER}: {name} must be {expected}; got {_brief(value)}"
    raise InvalidInputError(message, parameter=PARAMETER)


def _brief(value: object) -> str:
    """A value as errors tell it, however large it is."""
    if isinstance(value, str):
        return repr(value[:LONGEST])
    told = isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() <= LONGEST)
    return str(value) if told else type(value).__name__


def _check_growth(known: Mapping[str, ImageOption], loaded: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    for name, value in wanted.items():
        most = loaded.get(name, known[name].value)
        if value > most:
            message = (
                f"{PARAMETER}: {name} may be {_shown(most)} at most, got {_shown(value)}: a request may make images "
                "smaller, and no larger than the model was loaded to read them"
            )
            raise InvalidInputError(message, parameter=PARAMETER)


def _check_order(values: Mapping[str, int], made: Mapping[str, int]) -> None:
    """Refuse a least that is over its most, where one of them was chosen."""
    for name, most in values.items():
        other = LEAST + name.removeprefix(MOST)
        if name.startswith(MOST) and (name in made or other in made) and values.get(other, most) > most:
            message = f"{PARAMETER}: {other} is {values[other]}, which is over {name}, {most}"
            raise InvalidInputError(message, parameter=PARAMETER)


def _shown(value: int) -> str:
    return str(value).lower()
