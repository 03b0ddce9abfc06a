"""The journal of a study in Redis: nothing in it is unpickled, and entries that the server lost are noticed."""

import json
from collections.abc import Generator
from itertools import islice
from typing import Any

from optuna.storages.journal import JournalRedisBackend

from edgeprune.errors import StorageError
from edgeprune.studies.urls import redacted

READ_AT_ONCE = 1000  # entries
ANSWER_S = 60.0  # for the server to answer a command


class RedisJournal(JournalRedisBackend):
    """Optuna's journal in Redis, with the same keys.

    Optuna's own keeps pickled snapshots, which anyone who may write into the server could replace by a program;
    here the journal is read from its beginning. A server that restarts without its last entries would let workers
    wait for ever; here it is an error that says so.

    Args:
        url: of the server.
        connect_s: limit for a connection, in seconds.
    """

    def __init__(self, url: str, *, connect_s: float) -> None:
        import redis

        super().__init__(url)
        self._url_shown = redacted(url)
        options: dict[str, Any] = {"socket_connect_timeout": connect_s, "socket_timeout": ANSWER_S}
        self._redis = redis.Redis.from_url(url, **options)
        self._last: bytes | None = None  # the last entry that was read

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the entries from a number on.

        Raises:
            StorageError: entries that were read before are gone, or one cannot be read.
        """
        count = int(self._redis.get(f"{self._prefix}:log_number") or -1) + 1
        if log_number_from and not self._still_has(log_number_from - 1):
            raise StorageError(
                f"the storage {self._url_shown} came back without its last entries: have the server keep all "
                "(redis.conf: appendonly yes), and begin again under another `study`"
            )
        numbers = iter(range(log_number_from, count))
        while chunk := list(islice(numbers, READ_AT_ONCE)):
            entries = self._redis.mget([self._key_log_id(number) for number in chunk])
            for number, entry in zip(chunk, entries, strict=True):
                yield self._parsed(number, entry)

    def _still_has(self, number: int) -> bool:
        return self._last is None or self._redis.get(self._key_log_id(number)) == self._last

    def _parsed(self, number: int, entry: bytes | None) -> dict[str, Any]:
        try:
            value = json.loads(entry or b"")
        except ValueError as error:
            raise self._damaged(number) from error
        if not isinstance(value, dict):
            raise self._damaged(number)
        self._last = entry
        return value

    def _damaged(self, number: int) -> StorageError:
        return StorageError(
            f"the storage {self._url_shown} is damaged or was cut (entry {number} of its journal cannot be read): "
            "have the server evict nothing (redis.conf: maxmemory-policy noeviction), and begin again in another one"
        )

    def save_snapshot(self, snapshot: bytes) -> None:
        """Keep no snapshot."""

    def load_snapshot(self) -> None:
        """Return none: a snapshot would be unpickled."""
