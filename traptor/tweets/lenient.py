"""Values as they were sent to the types that we read them by: what does not fit is left out, and nothing else is."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Struct

MISFITS = (msgspec.ValidationError, UnicodeEncodeError)
"""What msgspec raises for a value of the wrong shape; the second where that is a text with half a surrogate pair."""

_S = TypeVar("_S", bound=Struct)


class Fitting(NamedTuple):
    """The value as its type has it, UNSET where nothing of it fits, and the paths of what is left out, each once."""

    value: Any
    left_out: tuple[str, ...]


def convert(value: Any, kind: Any, path: str = "") -> Fitting:
    """Field by field, entry by entry. ``path`` is where the value stands; positions in lists are not told."""
    try:
        return Fitting(msgspec.convert(value, kind), ())
    except MISFITS:
        left_out: list[str] = []
        return Fitting(_fitting(value, kind, path, left_out), tuple(dict.fromkeys(left_out)))


def view(value: Mapping[str, Any], kind: type[_S]) -> _S:
    """A struct whose fields may all be absent, from a dict."""
    return convert(value, kind).value  # type: ignore[no-any-return]


def _fitting(value: Any, kind: Any, path: str, left_out: list[str]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except MISFITS:
        pass
    for option in _options(kind):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, Struct):
            return _struct(value, option, path, left_out)
        if isinstance(value, list) and get_origin(option) is list and not _is_numbers(option):
            entries = (_fitting(entry, get_args(option)[0], path, left_out) for entry in value)
            return [entry for entry in entries if entry is not UNSET]
    left_out.append(path)
    return UNSET


def _options(kind: Any) -> Iterator[Any]:
    """The types that a union allows, or the one that there is."""
    yield from (kind, *get_args(kind))


def _is_numbers(kind: Any) -> bool:
    """Lists of numbers, and of such lists, make sense only as a whole."""
    entry = get_args(kind)[0]
    plain = get_args(entry)[0] if get_origin(entry) is Annotated else entry
    return plain in (int, float) or get_origin(plain) is list


@cache
def _hints(kind: type[Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _struct(value: dict[str, Any], kind: type[Struct], path: str, left_out: list[str]) -> Any:
    """UNSET where a field is missing that it cannot be without."""
    known: dict[str, Any] = {}
    for name, hint in _hints(kind).items():
        if name in value:
            fitting = _fitting(value[name], hint, f"{path}.{name}" if path else name, left_out)
            if fitting is not UNSET:
                known[name] = fitting
    try:
        return kind(**known)
    except TypeError:
        left_out.append(path)
        return UNSET
