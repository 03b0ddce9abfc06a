"""Check and open a storage by its URL."""

import os
import re
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage

from edgeprune.errors import StorageError, one_line
from edgeprune.studies.file_journal import file_journal
from edgeprune.studies.redis import RedisJournal
from edgeprune.studies.urls import (
    FILES,
    FORMS,
    PORTS,
    REDIS,
    file_of,
    redacted,
    storage_kind,
    unusable,
    with_driver,
)

REACH_S = 10  # for a server to accept a connection; a driver alone would wait for minutes
SQLITE_LOCK_S = 60  # for another worker to finish its write
# A connection that a router or a machine dropped without a word is given up after about a minute.
KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
TRIES, WAIT_S = 8, 0.5
CONFLICTS = ("already exists", "locked", "unique", "duplicate")  # errors of concurrent creation

T = TypeVar("T")


def check_storage(url: str) -> None:
    """Check that a storage is usable; nothing is written where it is not.

    Raises:
        StorageError: unknown kind, no driver, a server that does not answer, or a file that cannot be a database.
    """
    kind = storage_kind(url)
    if kind in FILES:
        _check_file(url, file_of(url))
    elif kind in PORTS:
        _check_server(url, PORTS[kind])
    else:
        raise StorageError(f"the storage {one_line(redacted(url))} is of an unknown kind: use one of {FORMS}")


def open_storage(url: str) -> BaseStorage:
    """Connect to a storage; raises the exceptions of its driver.

    Args:
        url: as `check_storage` takes it.
    """
    kind = storage_kind(url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "journal":
            return JournalStorage(file_journal(file_of(url)))
        if kind in REDIS:
            with_driver(url)
            return JournalStorage(RedisJournal(url, connect_s=REACH_S))
        if kind == "sqlite":
            file_of(url).parent.mkdir(parents=True, exist_ok=True)
        full = with_driver(url)
        return get_storage(unless_in_conflict(lambda: RDBStorage(full, _engine_options(full))))


def unless_in_conflict(create: Callable[[], T]) -> T:
    """Return what ``create`` returns; try again where workers that start together conflict over new tables."""
    for _ in range(TRIES - 1):
        try:
            return create()
        except Exception as error:  # a driver's, of which each has its own
            if not any(word in str(error).lower() for word in CONFLICTS):
                raise
            time.sleep(WAIT_S)
    return create()


def _engine_options(url: str) -> dict[str, Any]:
    """Return options of SQLAlchemy's engine. A connection is tested before each use: the server may have restarted."""
    kind = storage_kind(url)
    if kind == "sqlite":
        return {"connect_args": {"timeout": SQLITE_LOCK_S}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    driver = url.partition(":")[0].partition("+")[2]
    if driver in ("psycopg", "psycopg2"):
        # A database that was made in the C locale has no encoding, and gives psycopg bytes for text.
        own = {"connect_timeout": REACH_S, "client_encoding": "utf8", **KEEPALIVE}
        options["connect_args"] = {name: value for name, value in own.items() if f"{name}=" not in url}
    return options


def _check_file(url: str, path: Path) -> None:
    rest = url.partition(":")[2]
    if storage_kind(url) == "sqlite" and (not rest.startswith("///") or str(path) in (".", ":memory:")):
        raise StorageError(
            f"the storage {url} names no file: write sqlite:///FILE, or sqlite:////FOLDER/FILE"
        )
    if storage_kind(url) == "journal" and (not rest or rest.startswith("//")):
        raise StorageError(f"the storage {url} names no file: write journal:FILE")
    if path.is_dir():
        raise StorageError(f"the storage {url} is a folder: name a file in it")
    if path.exists():
        _read(url)
        return
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK) or str(parent).startswith("/proc"):
        raise StorageError(f"the storage {url} cannot be used: {parent} is not a writable folder")


def _check_server(url: str, port: int) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or port
    except ValueError as error:
        raise unusable(url, error) from error
    if re.fullmatch(r"[\w.:%-]+", host):  # without a host, the URL means a local socket
        try:
            socket.create_connection((host, port), REACH_S).close()
        except (OSError, UnicodeError) as error:
            raise unusable(url, error) from error
    _read(url)


def _read(url: str) -> None:
    try:
        open_storage(url).get_all_studies()
    except StorageError:
        raise
    except Exception as error:  # a driver's, of which each has its own
        raise unusable(url, error) from error
