"""Reads a pickle that holds plain data, without the machine that would run what it says.

A pickle is a little program. This reads its instructions one by one and knows only those that build dictionaries,
lists, numbers, text and NumPy arrays; anything else is refused. Nothing named in the file is ever imported or called.
"""

from __future__ import annotations

import pickletools  # nosec B403
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

_MARK = object()


class _Name:
    """A global that the file names; it stands for itself and is never looked up."""

    KNOWN = ("_reconstruct", "scalar", "ndarray", "dtype")

    def __init__(self, module: str, name: str) -> None:
        if module.split(".")[0] != "numpy" or name not in self.KNOWN:
            raise ValueError(f"it asks for {module}.{name}")
        self.name = name


class _Array:
    """An array that is being built: its numbers come with the instruction BUILD."""

    values: Any = None


def read_plain(file: BinaryIO) -> Any:
    """The object that a pickle holds.

    Args:
        file: stands at the first instruction.

    Raises:
        ValueError: it holds more than plain data, or is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
    except (IndexError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    return _finished(machine.stack.pop())


def _finished(value: Any) -> Any:
    """The same with arrays in place of what they were built from."""
    if isinstance(value, _Array):
        return _finished(value.values)
    if isinstance(value, dict):
        return {_finished(key): _finished(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_finished(part) for part in value)
    return value


class _Machine:
    """Stack and memory of the instructions that plain data need (protocols 3 and 4, NumPy's)."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One instruction."""
        if name in _IGNORED:
            return
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise ValueError(f"it holds the instruction {name}, which plain data do not need")

    def since_mark(self) -> list[Any]:
        """Takes everything above the last mark."""
        place = len(self.stack) - 1 - next(i for i, v in enumerate(reversed(self.stack)) if v is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def take(self, count: int) -> list[Any]:
        """Takes the topmost items, in order."""
        items = self.stack[-count:]
        if len(items) < count:
            raise IndexError("the stack is empty")
        del self.stack[-count:]
        return items


def _set_items(machine: _Machine, pairs: list[Any]) -> None:
    machine.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))


def _global(machine: _Machine, argument: str) -> None:
    machine.stack.append(_Name(*argument.split(" ", 1)))


def _stack_global(machine: _Machine, _: Any) -> None:
    machine.stack.append(_Name(*machine.take(2)))


def _reduce(machine: _Machine, _: Any) -> None:
    called, arguments = machine.take(2)
    if not isinstance(called, _Name):
        raise ValueError("it calls something")
    if called.name == "dtype":
        result: Any = np.dtype(_dtype_code(arguments[0]))
    elif called.name == "scalar":
        result = np.frombuffer(_bytes(arguments[1]), arguments[0], 1)[0].item()
    elif called.name == "_reconstruct":
        result = _Array()
    else:
        raise ValueError(f"it calls numpy.{called.name}")
    machine.stack.append(result)


def _dtype_code(code: Any) -> str:
    if not isinstance(code, str) or code.lstrip("<>|=")[:1] not in "biufOUS":
        raise ValueError(f"it holds numbers of the type {code!r}")
    return code


def _bytes(raw: Any) -> bytes:
    """The numbers of an array; Python 2 wrote them as Latin-1 text."""
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(raw)


def _build(machine: _Machine, _: Any) -> None:
    (state,) = machine.take(1)
    owner = machine.stack[-1]
    if isinstance(owner, np.dtype):
        machine.stack[-1] = owner.newbyteorder(state[1]) if state[1] in ("<", ">") else owner
        for key, kept in machine.memory.items():
            if kept is owner:
                machine.memory[key] = machine.stack[-1]
    elif isinstance(owner, _Array):
        _, shape, dtype, by_column, raw = state
        if dtype.hasobject:
            owner.values = raw[0] if shape == () else list(raw)
        else:
            values = np.frombuffer(_bytes(raw), dtype).reshape(shape, order="F" if by_column else "C")
            owner.values = values.tolist()
    else:
        raise ValueError("it sets the state of an object")


def _get(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.memory[int(argument)])


def _put(machine: _Machine, argument: Any) -> None:
    machine.memory[int(argument)] = machine.stack[-1]


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(tuple(machine.take(count)))


_IGNORED = ("PROTO", "FRAME", "STOP")
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "MEMOIZE": lambda machine, _: machine.memory.__setitem__(len(machine.memory), machine.stack[-1]),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "PUT": _put,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GET": _get,
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "APPEND": lambda machine, _: _append(machine, machine.take(1)),
    "APPENDS": lambda machine, _: _append(machine, machine.since_mark()),
    "SETITEM": lambda machine, _: _set_items(machine, machine.take(2)),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.since_mark()),
}


def _append(machine: _Machine, items: list[Any]) -> None:
    machine.stack[-1].extend(items)
