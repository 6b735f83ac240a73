"""Copies values with changes, and compares and shows them without some of their fields.

All values of the domain are `msgspec.Struct`s, with `frozen=True` and nearly all with `kw_only=True`.
"""

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace as _replace

if TYPE_CHECKING:
    from dataclasses import replace as replace  # type checkers know the names and types of its arguments
else:
    replace = _replace


def repr_without(value: Struct, *secret: str) -> str:
    """Returns what `repr` shows of the value, without these fields."""
    shown = [f"{name}={item!r}" for name, item in value.__rich_repr__() if name not in secret]
    return f"{type(value).__name__}({', '.join(shown)})"


def are_equal_besides(one: Struct, other: object, **ignored: Any) -> bool:
    """Returns whether both are of one class and are equal when the fields `ignored` of both have these values."""
    if type(one) is not type(other) or not isinstance(other, Struct):
        return False
    return bool(Struct.__eq__(_replace(one, **ignored), _replace(other, **ignored)))
