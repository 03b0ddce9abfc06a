"""The storage of a search's study by its URL: checked before anything is trained, its secrets hidden."""

import os
import re
import socket
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

from edgeprune.errors import SearchError, one_line

DEAD_AFTER = 4  # missed heartbeats after which a worker counts as dead
REACH_S = 10.0  # for a server to accept a connection; a driver alone would wait for minutes
HIDDEN = "..."
PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "rediss": 6379}
FORMS = "sqlite:///FILE, postgresql://..., mysql://..., redis://... or journal:FILE"
# Query parameters of a URL that are safe to show; any other may be a secret.
SHOWN = {"host", "port", "db", "dbname", "database", "sslmode", "ssl", "charset", "mode", "uri", "timeout",
         "connect_timeout", "application_name", "cache", "nolock", "immutable"}  # fmt: skip


def storage_kind(url: str) -> str:
    """Return 'sqlite', 'postgresql', 'journal' and so on, without the driver's name."""
    return url.partition(":")[0].partition("+")[0].lower()


def redacted(url: str) -> str:
    """Return a URL without the user, the password, and query parameters that may be secret."""
    scheme, colon, rest = url.partition(":")
    if storage_kind(url) == "journal" or not colon:
        return url
    if "@" in rest[rest.find("?") :] and "?" in rest:  # either of them may be a part of the password
        return f"{scheme}://{HIDDEN}"
    place, question, query = rest.partition("?")
    head, at, tail = place.rpartition("@")
    if ":" in head.removeprefix("//"):
        place = f"//{HIDDEN}{at}{tail}"
    return f"{scheme}:{place}{question}{'&'.join(_shown(part) for part in query.split('&'))}"


def _shown(part: str) -> str:
    key, sign, _ = part.partition("=")
    return part if not sign or key.lower() in SHOWN else f"{key}={HIDDEN}"


def check_storage(url: str) -> None:
    """Check that a storage is usable; nothing is written where it is not.

    Raises:
        SearchError: unknown kind, a server that does not answer, or a file that cannot be a database.
    """
    kind = storage_kind(url)
    if kind in ("sqlite", "journal"):
        _check_file(url, _file_of(url))
    elif kind in PORTS:
        _check_server(url, PORTS[kind])
    else:
        raise SearchError(f"the storage {one_line(redacted(url))} is of an unknown kind: use one of {FORMS}")


def open_storage(url: str, heartbeat_s: int) -> BaseStorage:
    """Connect to a storage; raises the exceptions of its driver.

    Args:
        url: as `check_storage` takes it.
        heartbeat_s: interval at which a worker reports that it is alive, in seconds.
    """
    kind = storage_kind(url)
    if kind == "journal":
        return JournalStorage(JournalFileBackend(url.partition(":")[2]))
    if kind in ("redis", "rediss"):
        return JournalStorage(JournalRedisBackend(url))
    if kind == "sqlite":
        _file_of(url).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if kind == "sqlite" else None,
            heartbeat_interval=heartbeat_s,
            grace_period=DEAD_AFTER * heartbeat_s,
        )


def unusable(url: str, error: Exception) -> SearchError:
    """Return the error for a storage that its driver refused, without the secrets of its URL."""
    why = without_secrets((str(error).splitlines() or [""])[0] or type(error).__name__, url)
    return SearchError(
        f"the storage {one_line(redacted(url))} cannot be used ({one_line(why)}): check it, or give another "
        f"as {FORMS}"
    )


def without_secrets(text: str, url: str) -> str:
    """Return a driver's message without the parts of the URL that `redacted` hides."""
    text = text.replace(url, redacted(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if secret in text and len(secret) < 3:  # it may be a part of any word
            return "the driver's message is not shown: it may hold the password"
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(url: str) -> set[str]:
    """Return passwords of a URL: as they are written, and as a driver decodes them."""
    if redacted(url) == url:
        return set()
    rest = url.partition("://")[2]
    place, _, query = rest.partition("?")
    values = [part.partition("=")[2] for part in query.split("&") if part and _shown(part) != part]
    user = place.rpartition("@")[0]
    values.append(user.partition(":")[2])
    if redacted(url).endswith(f"://{HIDDEN}"):
        values.append(rest.rpartition("@")[0].partition(":")[2])
    return {text for value in values for text in (value, unquote(value)) if text}


def _file_of(url: str) -> Path:
    """Return the file of a sqlite or journal URL."""
    rest = url.partition(":")[2]
    return Path(rest.partition("?")[0].removeprefix("///") if storage_kind(url) == "sqlite" else rest)


def _check_file(url: str, path: Path) -> None:
    rest = url.partition(":")[2]
    if storage_kind(url) == "sqlite" and (not rest.startswith("///") or str(path) in (".", ":memory:")):
        raise SearchError(f"the storage {url} names no file: write sqlite:///FILE, or sqlite:////FOLDER/FILE")
    if storage_kind(url) == "journal" and (not rest or rest.startswith("//")):
        raise SearchError(f"the storage {url} names no file: write journal:FILE")
    if path.is_dir():
        raise SearchError(f"the storage {url} is a folder: name a file in it")
    if path.exists():
        try:
            open_storage(url, 60).get_all_studies()
        except Exception as error:  # a driver's, of which each has its own
            raise unusable(url, error) from error
        return
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK) or str(parent).startswith("/proc"):
        raise SearchError(f"the storage {url} cannot be used: {parent} is not a writable folder")


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
    try:
        open_storage(url, 60).get_all_studies()
    except Exception as error:  # a driver's, of which each has its own
        raise unusable(url, error) from error
