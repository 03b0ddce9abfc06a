"""Classes and modules that have exactly the names they are given; any other raises AttributeError."""

from types import ModuleType
from typing import Any

TOUCHED: set[tuple[str, str]] = set()  # (class, name): every name of TensorRT that anything asked for


def touch(owner: str, name: str, allowed: set[str] | frozenset[str]) -> None:
    """Take down that ``name`` was asked for; AttributeError unless ``owner`` has it."""
    if name.startswith("_"):
        return
    TOUCHED.add((owner, name))
    if name not in allowed:
        raise AttributeError(f"{owner!r} object has no attribute {name!r}")


def guarded(owner: str, names: set[str], behaviour: type, trt: Any) -> type:
    """A class ``owner`` with the names of a list, doing what ``behaviour`` does under those it knows.

    Classes that are derived from it, as those of a logger or profiler are, may add names of their own.
    """
    allowed = frozenset(names)

    class Guarded(behaviour):  # type: ignore[valid-type,misc]
        _trt = trt
        _made_right = False  # pybind11 wants a derived class to call the base's __init__

        def __init__(self, *arguments: Any) -> None:
            object.__setattr__(self, "_made_right", True)
            super().__init__(*arguments)

        def __getattribute__(self, name: str) -> Any:
            if not _own(type(self), Guarded, name) and name not in _vars(self):
                touch(owner, name, allowed)
            return object.__getattribute__(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            if type(self) is Guarded:
                touch(owner, name, allowed)
            object.__setattr__(self, name, value)

    Guarded.__name__ = Guarded.__qualname__ = owner
    for name in allowed - {name for kind in behaviour.__mro__ for name in vars(kind)}:
        setattr(Guarded, name, _untold(owner, name))
    return Guarded


def _own(kind: type, base: type, name: str) -> bool:
    """Whether a class between ``kind`` and ``base`` brought the name itself."""
    return any(name in vars(item) for item in kind.__mro__[: kind.__mro__.index(base)])


def _vars(value: Any) -> dict[str, Any]:
    result: dict[str, Any] = object.__getattribute__(value, "__dict__")
    return result


def _untold(owner: str, name: str) -> property:
    def get(value: Any) -> Any:
        raise NotImplementedError(f"the stand-in knows that {owner} has {name}, and not what it does")

    def put(item: Any, value: Any) -> None:
        object.__getattribute__(item, "__dict__")[f"_set_{name}"] = value

    return property(get, put)


class Member:
    """Of an enumeration: has a name and a number, equals itself alone."""

    def __init__(self, owner: str, name: str, number: int) -> None:
        self.owner, self.name, self.number = owner, name, number

    def __int__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"{self.owner}.{self.name}"


class Enumeration:
    """``trt.BuilderFlag`` and its like."""

    def __init__(self, owner: str, names: set[str], numbers: dict[str, int]) -> None:
        self._owner, self._names = owner, frozenset(names)
        for index, name in enumerate(sorted(names)):
            vars(self)[name] = Member(owner, name, numbers.get(name, index))

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        touch(self._owner, name, self._names)
        return object.__getattribute__(self, name)


class Module(ModuleType):
    """``tensorrt`` itself."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            touch("tensorrt", name, object.__getattribute__(self, "_allowed"))
        return super().__getattribute__(name)
