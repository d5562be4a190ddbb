"""Operators of lists, dictionaries and words. Each returns NotImplemented where its arguments are something else."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.variables import Variable

MAXIMUM_FACTOR = 100_000
"""How often a list may be repeated."""


def _add(program: Program, first: Any, second: Any, *_: Any) -> Any:
    if isinstance(first, list | str) and isinstance(second, list | str):
        return first + second  # type: ignore[operator]  # the schema says that both are lists, or both are words
    return NotImplemented


def _extend(program: Program, first: Any, second: Any, *_: Any) -> Any:
    if not isinstance(first, list):
        return NotImplemented
    first.extend(listed(program, second))
    return first


def _repeat(program: Program, first: Any, second: Any) -> Any:
    if isinstance(second, list):
        first, second = second, first
    if not isinstance(first, list):
        return NotImplemented
    if not isinstance(second, int) or second > MAXIMUM_FACTOR:
        raise UnsupportedModel("", "it repeats a list a number of times that depends on an input, or very often")
    return first * second


def _equal(program: Program, first: Any, second: Any) -> Any:
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return _lists_equal(program, first, second)
    if isinstance(first, int | float | Variable) or isinstance(second, int | float | Variable):
        return NotImplemented
    if program.emit.is_open(first) or program.emit.is_open(second):
        return NotImplemented
    return first == second


def _lists_equal(program: Program, first: Any, second: Any) -> Any:
    """Compare entry by entry: some may be numbers that depend on an input."""
    if len(first) != len(second):
        return False
    result: Any = True
    for one, other in zip(first, second, strict=True):
        if one is other:
            continue
        same = _equal(program, one, other)
        if same is NotImplemented:
            if isinstance(one, Variable) or isinstance(other, Variable):
                raise UnsupportedModel("", "it compares lists of tensors")
            same = program.emit.number(operator.eq, one, other)
        if same is False:
            return False
        result = same if result is True else program.emit.number(operator.and_, result, same)
    return result


def _unequal(program: Program, first: Any, second: Any) -> Any:
    same = _equal(program, first, second)
    return same if same is NotImplemented else program.emit.number(operator.not_, same)


def listed(program: Program, value: Any) -> list[Any]:
    """Return the entries of a list, or of several tensors that nobody has counted yet."""
    if isinstance(value, Several):
        return [program.item(value, index) for index in range(_length(program, value))]
    if isinstance(value, dict):
        return list(value)
    return list(value)


def _length(program: Program, value: Any) -> Any:
    if isinstance(value, Variable):
        return program.emit.size(value.read(), 0)
    if isinstance(value, Several):
        example = program.emit.example(value.node)
        if example is None:
            raise UnsupportedModel("", "it counts tensors whose number is not known")
        return len(example)
    return len(value)


def _position(index: Any) -> int:
    if not isinstance(index, int):
        raise UnsupportedModel("", "which entry of a list it takes depends on an input")
    return index


def _get_item(program: Program, value: Any, key: Any) -> Any:
    if isinstance(value, Several):
        return program.item(value, _position(key))
    return value[key] if isinstance(value, dict) else value[_position(key)]


def _set_item(program: Program, value: Any, key: Any, item: Any) -> Any:
    value[key if isinstance(value, dict) else _position(key)] = item
    return value


def _append(program: Program, value: list[Any], item: Any) -> Any:
    value.append(item)
    return value


def _insert(program: Program, value: list[Any], index: Any, item: Any) -> Any:
    value.insert(_position(index), item)
    return value


def _pop(program: Program, value: Any, *key: Any) -> Any:
    return value.pop(*key) if isinstance(value, dict) else value.pop(*(_position(each) for each in key))


def _delete(program: Program, value: Any, key: Any) -> Any:
    del value[key]


def _clear(program: Program, value: Any) -> Any:
    value.clear()


def _reverse(program: Program, value: list[Any]) -> Any:
    value.reverse()


def _slice(program: Program, value: Any, *bounds: Any) -> Any:
    if isinstance(value, Variable):
        return NotImplemented  # The aten operator of the same name.
    return listed(program, value)[_range(bounds)] if not isinstance(value, str) else value[_range(bounds)]


def _range(bounds: tuple[Any, ...]) -> slice:
    return slice(*(None if bound is None else _position(bound) for bound in bounds))


def _contains(program: Program, container: Any, item: Any) -> bool:
    return item in container


def _get(program: Program, value: dict[Any, Any], key: Any, default: Any = None) -> Any:
    return value.get(key, default)


def _set_default(program: Program, value: dict[Any, Any], key: Any, default: Any = None) -> Any:
    return value.setdefault(key, default)


def _update(program: Program, value: dict[Any, Any], other: dict[Any, Any]) -> Any:
    value.update(other)


def _copy(program: Program, value: Any, *_: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else NotImplemented


def _as_list(program: Program, value: Any) -> Any:
    return list(value) if isinstance(value, str) else listed(program, value)


def _as_dictionary(program: Program, *value: Any) -> Any:
    return dict(value[0]) if value else {}


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return an operator that folds a list of numbers; of a tensor or a pair it is another one of the same name."""

    def fold(program: Program, value: Any, *rest: Any) -> Any:
        if rest or not isinstance(value, list) or any(isinstance(part, Variable) for part in value):
            return NotImplemented
        result = value[0]
        for part in value[1:]:
            result = program.emit.number(function, result, part)
        return result

    return fold


def _total(program: Program, value: Any, *rest: Any) -> Any:
    if not isinstance(value, list) or any(isinstance(part, Variable) for part in value):
        return NotImplemented
    result: Any = 0
    for part in value:
        result = program.emit.number(operator.add, result, part)
    return result


def _every(program: Program, value: Any, *rest: Any) -> Any:
    return all(_known(value)) if isinstance(value, list) else NotImplemented


def _any(program: Program, value: Any, *rest: Any) -> Any:
    return any(_known(value)) if isinstance(value, list) else NotImplemented


def _known(values: list[Any]) -> list[Any]:
    if not all(isinstance(value, int | float | str) for value in values):
        raise UnsupportedModel("", "it asks of a list what depends on an input")
    return values


def _sorted(program: Program, value: Any, *rest: Any) -> Any:
    return sorted(_known(value)) if isinstance(value, list) else NotImplemented


def _sort(program: Program, value: Any, *rest: Any) -> Any:
    if not isinstance(value, list):
        return NotImplemented
    value[:] = sorted(_known(value), reverse=bool(rest and rest[0]))
    return value


def _index(program: Program, value: Any, *item: Any) -> Any:
    return value.index(item[0]) if isinstance(value, list | str) and not isinstance(item[0], list) else NotImplemented


def _count(program: Program, value: Any, item: Any) -> Any:
    return value.count(item)


def _format(program: Program, template: str, *values: Any) -> str:
    """Fill the places of a template; a value that depends on an input is shown as a question mark."""
    first, *rest = template.split("{}")
    shown = [str(value) if isinstance(value, str | int | float | bool | None) else "?" for value in values]
    return first + "".join(f"{value}{text}" for value, text in zip([*shown, *[""] * len(rest)], rest, strict=False))


def _range_length(program: Program, start: Any, end: Any, step: Any) -> Any:
    return program.emit.number(range_length, start, end, step)


def range_length(start: int, end: int, step: int) -> int:
    """Return how many numbers a range has."""
    return len(range(start, end, step))


def _derive_index(program: Program, index: Any, start: Any, step: Any) -> Any:
    return program.emit.number(derive_index, index, start, step)


def derive_index(index: int, start: int, step: int) -> int:
    """Return a number of a range."""
    return start + index * step


def _of_words(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(program: Program, word: Any, *rest: Any) -> Any:
        return function(word, *rest) if isinstance(word, str) else NotImplemented

    return run


CONTAINERS: Mapping[str, Callable[..., Any]] = {
    "aten::add": _add,
    "aten::add_": _extend,
    "aten::mul": _repeat,
    "aten::eq": _equal,
    "aten::ne": _unequal,
    "aten::len": _length,
    "aten::__getitem__": _get_item,
    "aten::_set_item": _set_item,
    "aten::append": _append,
    "aten::extend": _extend,
    "aten::insert": _insert,
    "aten::pop": _pop,
    "aten::Delete": _delete,
    "aten::clear": _clear,
    "aten::reverse": _reverse,
    "aten::slice": _slice,
    "aten::__contains__": _contains,
    "aten::copy": _copy,
    "aten::list": _as_list,
    "aten::dict": _as_dictionary,
    "aten::keys": lambda program, value: list(value),
    "aten::values": lambda program, value: list(value.values()),
    "aten::items": lambda program, value: list(value.items()),
    "aten::get": _get,
    "aten::setdefault": _set_default,
    "aten::update": _update,
    "aten::sum": _total,
    "aten::all": _every,
    "aten::any": _any,
    "aten::sorted": _sorted,
    "aten::sort": _sort,
    "aten::index": _index,
    "aten::count": _count,
    "prim::min": _folded(min),
    "prim::max": _folded(max),
    "prim::range": lambda program, *bounds: list(range(*map(_position, bounds))),
    "aten::__range_length": _range_length,
    "aten::__derive_index": _derive_index,
    "aten::format": _format,
    "aten::percentFormat": lambda program, template, *values: template,
    "aten::str": lambda program, value: _format(program, "{}", value),
    "aten::join": lambda program, separator, words: separator.join(words),
    "aten::lower": _of_words(str.lower),
    "aten::upper": _of_words(str.upper),
    "aten::startswith": _of_words(str.startswith),
    "aten::endswith": _of_words(str.endswith),
    "aten::find": _of_words(str.find),
    "aten::replace": _of_words(str.replace),
    "aten::strip": _of_words(str.strip),
    "aten::split": _of_words(str.split),
}
