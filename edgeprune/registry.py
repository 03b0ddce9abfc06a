"""Named objects of one kind: those of the house, those that a user registers, those that other packages bring."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgeprune.errors import EdgePruneError, known, one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


def import_on_first_use(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``, which imports a public name when it is first used.

    So one module of a package, such as its options, can be imported without what the others need.

    Args:
        package: its ``__name__``.
        modules: public names by the module of the package that has them.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get


class Registry(Generic[T]):
    """A readable table of one kind of object by name.

    A package adds to it by an entry point whose group is the registry's: it is listed by name, and imported when it is
    first asked for.

    Args:
        kind: what the objects are, for messages.
        group: name of the entry points, such as "edgeprune.methods".
        error: class of the mistakes.
    """

    def __init__(self, kind: str, group: str, error: type[EdgePruneError]) -> None:
        self.kind, self.group, self.error = kind, group, error
        self._entries: dict[str, T] = {}

    @cached_property
    def _offered(self) -> "dict[str, EntryPoint]":
        """Entry points by name; one that has the name of something registered is not looked at."""
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self.group)}

    def register(self, name: str, entry: T, *, replace: bool = False) -> T:
        """Add an object, and return it.

        Args:
            name: by which it is asked for.
            entry: the object.
            replace: whether it may take the place of another.

        Raises:
            EdgePruneError: the name is empty, or taken.
        """
        if not isinstance(name, str) or not name or name != name.strip() or "," in name:
            raise self.error(f"the name of a {self.kind} is {name!r}: write a word without commas")
        if name in self._entries and not replace:
            raise self.error(
                f"there is a {self.kind} {name!r} already: choose another name, or say replace=True"
            )
        self._entries[name] = entry
        return entry

    def unregister(self, name: str) -> None:
        """Take out what `register` added; nothing where it is not there."""
        self._entries.pop(name, None)

    def registered(self) -> tuple[str, ...]:
        """Return the names of what was registered, without a search for entry points."""
        return tuple(self._entries)

    def names(self) -> tuple[str, ...]:
        """Return all names, in the order in which they were added."""
        return (*self._entries, *(name for name in self._offered if name not in self._entries))

    def __getitem__(self, name: str) -> T:
        if name not in self._entries and name in self._offered:
            self._entries[name] = self._load(self._offered[name])
        if name not in self._entries:
            raise self.error(known(self.kind, name, list(self.names())))
        return self._entries[name]

    def _load(self, point: "EntryPoint") -> T:
        try:
            entry: T = point.load()
        except Exception as error:  # another package's own code
            raise self.error(
                f"the {self.kind} {point.name!r} cannot be imported from {point.value} ({one_line(error)}): "
                "repair or uninstall the package that brings it"
            ) from error
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._offered

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


class ObjectRegistry(Registry[T]):
    """A registry of objects of one class, each under its own ``name``; a subclass of it stands for what it makes.

    Args:
        kind: what the objects are, for messages.
        group: name of the entry points; the module that ``base`` is public in.
        error: class of the mistakes.
        base: class of the objects.
        check: raises an error of that class for an object that cannot be used.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        error: type[EdgePruneError],
        base: type[T],
        check: Callable[[T], None] = lambda entry: None,  # noqa: ARG005
    ) -> None:
        super().__init__(kind, group, error)
        self.base, self._check = base, check

    def add(self, entry: T | type[T], *, replace: bool = False) -> T:
        """Add an object under its own name, and return it.

        Args:
            entry: an object, or a class that is made without arguments.
            replace: whether it may take the place of another.

        Raises:
            EdgePruneError: it is of another class or cannot be used, has no name, or the name is taken.
        """
        made = self._made(entry)
        return self.register(made.name, made, replace=replace)  # type: ignore[attr-defined]

    def _made(self, entry: object) -> T:
        made = entry() if isinstance(entry, type) and issubclass(entry, self.base) else entry
        if not isinstance(made, self.base):
            name = self.base.__name__
            raise self.error(f"{made!r} is not a {name.lower()}: derive it from {self.group}.{name}")
        self._check(made)
        return made

    def _load(self, point: "EntryPoint") -> T:
        return self._made(super()._load(point))
