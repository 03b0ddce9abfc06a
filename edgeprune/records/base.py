"""Base classes of records: frozen, validated when they are read, written with the keys of the file.

A record is a frozen `msgspec.Struct`: its fields are the schema of the file, so that a file is read by the same lines
that say what is in it. Its lists are tuples and its maps are `Mapping`, which nothing changes;
`msgspec.structs.replace` gives a changed copy. Items are read by their keys in the file, too, as of the JSON:
``result["speedup"]["value"]``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from msgspec import UNSET, Struct

from edgeprune.errors import EdgePruneError, RunError
from edgeprune.files.writing import write_json
from edgeprune.records.checking import HINT, check_schema, converted, read_value

Kind = TypeVar("Kind", bound="Record")
FileKind = TypeVar("FileKind", bound="FileRecord")


class Record(Struct, frozen=True):
    """A part of a file that is read or written.

    Class attributes:
        FURTHER: name of the field, a map, whose items are further keys of the same JSON object; empty for none. Whoever
            reads such an object gathers them: see `gathered`.
        WHERE: what messages call a value that is of no file; empty for the name of the class.
        ERROR: class of the errors about such a value.
        REMEDY: what to do about it.
    """

    FURTHER: ClassVar[str] = ""
    WHERE: ClassVar[str] = ""
    ERROR: ClassVar[type[EdgePruneError]] = RunError
    REMEDY: ClassVar[str] = HINT

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the keys of the file; fields that are unset are left out."""
        return {key: plain(value) for key, value in self._items().items()}

    def _items(self) -> dict[str, Any]:
        """Return the values by their keys in the file."""
        pairs = zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True)
        items: dict[str, Any] = {}
        for key, name in pairs:
            value = getattr(self, name)
            if name == self.FURTHER:
                items.update(value)
            elif value is not UNSET:
                items[key] = value
        return items

    @classmethod
    def gathered(cls, value: Any) -> Any:
        """Return a JSON object in which the numbers under further keys are gathered in the field `FURTHER`."""
        if not isinstance(value, dict) or cls.FURTHER in value:
            return value
        known = {*cls.__struct_encode_fields__, "schema"}
        further = {
            key: number
            for key, number in value.items()
            if key not in known and (number is None or type(number) in (int, float))
        }
        return {**{key: item for key, item in value.items() if key not in further}, cls.FURTHER: further}

    @classmethod
    def from_dict(
        cls: type[Kind],
        value: Any,
        where: Path | str = "",
        *,
        error: type[EdgePruneError] | None = None,
        hint: str | None = None,
    ) -> Kind:
        """Make the record from its JSON form, of this schema or of an earlier one; unknown keys are ignored.

        Args:
            value: as read.
            where: the file, for the message; empty for `WHERE`.
            error: class of the errors; None for `ERROR`.
            hint: the remedy, added to the message; None for `REMEDY`.

        Raises:
            EdgePruneError: of class ``error``: it does not match; the message names the file and the field.
        """
        where, error = where or cls.WHERE or cls.__name__, error or cls.ERROR
        hint = cls.REMEDY if hint is None else hint
        try:
            prepared = cls.prepared(value, where, error=error, hint=hint)
            record: Kind = converted(prepared, cls, where, error=error, hint=hint)
            record.check_consistency(where, error=error, hint=hint)
        except EdgePruneError as fault:
            message = cls.with_keys(str(fault), value)
            if message == str(fault):
                raise
            raise type(fault)(message) from fault
        return record

    @classmethod
    def with_keys(cls, message: str, value: Any) -> str:  # noqa: ARG003
        """Return an error's message with the keys of the file, where its fields have other names; by default none has.

        Args:
            message: names fields of the record.
            value: as read.
        """
        return message

    @classmethod
    def prepared(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:  # noqa: ARG003
        """Return what was read in the form of this schema, before its fields are checked.

        Args:
            value: as read.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        return value

    def check_consistency(self, where: Path | str, *, error: type[EdgePruneError], hint: str) -> None:
        """Raise ``error`` if fields contradict each other; by default they do not.

        Args:
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """

    if not TYPE_CHECKING:  # for users of the JSON; code in here reads attributes, which mypy checks

        def __getitem__(self, key: str) -> Any:
            return self._items()[key]

        def __contains__(self, key: object) -> bool:
            return key in self.keys()

        def __iter__(self) -> Any:
            return iter(self.keys())

        def keys(self) -> list[str]:
            """Return the keys of the JSON form."""
            return [*self._items()]

        def get(self, key: str, default: Any = None) -> Any:
            """Return an item, or ``default`` where there is none."""
            return self[key] if key in self.keys() else default


class FileRecord(Record, frozen=True):
    """The content of a JSON file with a ``schema`` number, of which earlier ones are read and upgraded."""

    SCHEMA: ClassVar[int] = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, ``schema`` first."""
        return {"schema": self.SCHEMA, **super().to_dict()}

    @classmethod
    def prepared(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:
        """Return what was read in this schema, whose number is checked.

        Args:
            value: as read.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        value = cls.upgraded(value, where, error=error, hint=hint)
        check_schema(value, where, schema=cls.SCHEMA, error=error, hint=hint)
        return value

    @classmethod
    def upgraded(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:  # noqa: ARG003
        """Return a value of an earlier schema in this one, and any other unchanged.

        Args:
            value: as read, not yet checked.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        return value

    @classmethod
    def read(
        cls: type[FileKind], path: Path, *, error: type[EdgePruneError] = RunError, hint: str = HINT
    ) -> FileKind:
        """Read a file of this schema or of an earlier one.

        Args:
            path: the file.
            error: class of the errors.
            hint: the remedy for an invalid file, added to the message.

        Raises:
            EdgePruneError: of class ``error``: the file is missing, not JSON, or does not match the schema.
        """
        return cls.from_dict(read_value(path, error=error, hint=hint), path, error=error, hint=hint)

    def write(self, path: Path) -> None:
        """Write the file: under a temporary name, then renamed."""
        write_json(path, self.to_dict())

    if not TYPE_CHECKING:

        def __getitem__(self, key: str) -> Any:
            return self.SCHEMA if key == "schema" else super().__getitem__(key)

        def keys(self) -> list[str]:
            """Return the keys of the JSON form."""
            return ["schema", *super().keys()]


def plain(value: Any) -> Any:
    """Return a value of records, tuples and maps as dicts and lists, as JSON has them."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value
