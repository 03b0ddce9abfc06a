"""The URL of a storage: its kind, its driver, and what of it may be shown."""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from edgeprune.errors import StorageError, one_line

HIDDEN = "..."
PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "rediss": 6379}
REDIS = ("redis", "rediss")
FILES = ("sqlite", "journal")
FORMS = "sqlite:///FILE, postgresql://..., mysql://..., redis://... or journal:FILE"
# Query parameters of a URL that are safe to show; any other may be a secret.
SHOWN = {"host", "port", "db", "dbname", "database", "sslmode", "ssl", "charset", "mode", "uri", "timeout",
         "connect_timeout", "application_name", "cache", "nolock", "immutable"}  # fmt: skip
POSTGRESQL_DRIVERS = ("psycopg", "psycopg2")  # the first that is installed is used
PYMYSQL = "pymysql"


def storage_kind(url: str) -> str:
    """Return 'sqlite', 'postgresql', 'journal' and so on, without the driver's name."""
    return url.partition(":")[0].partition("+")[0].lower()


def is_server(url: str) -> bool:
    """Return whether a storage is on a server, which may go away and come back."""
    return storage_kind(url) in PORTS


def with_driver(url: str) -> str:
    """Return a URL that names the driver which is installed here, unless it names one already.

    Raises:
        StorageError: no driver of that kind is installed.
    """
    scheme, colon, rest = url.partition(":")
    kind = storage_kind(url)
    if kind in REDIS and find_spec("redis") is None:
        raise _without_driver(url, "redis")
    if "+" in scheme:
        return url
    if kind in ("postgresql", "postgres"):
        driver = next((name for name in POSTGRESQL_DRIVERS if find_spec(name) is not None), None)
        if driver is None:
            raise _without_driver(url, POSTGRESQL_DRIVERS[0])
        return f"postgresql+{driver}{colon}{rest}"
    if kind in ("mysql", "mariadb") and find_spec("MySQLdb") is None:
        if find_spec(PYMYSQL) is None:
            raise _without_driver(url, PYMYSQL, PYMYSQL)
        return f"{kind}+{PYMYSQL}{colon}{rest}"
    return url


def _without_driver(url: str, driver: str, package: str = "edgeprune[storage]") -> StorageError:
    return StorageError(
        f"the storage {one_line(redacted(url))} needs the driver {driver}, which is not installed: "
        f"pip install '{package}'"
    )


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


def without_secrets(text: str, url: str) -> str:
    """Return a driver's message without the parts of the URL that `redacted` hides."""
    text = text.replace(url, redacted(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if secret in text and len(secret) < 3:  # it may be a part of any word
            return "the driver's message is not shown: it may hold the password"
        text = text.replace(secret, HIDDEN)
    return text


def reason_of(error: BaseException, url: str) -> str:
    """Return the first line of a driver's message, without the secrets of the URL."""
    return one_line(without_secrets((str(error).splitlines() or [""])[0] or type(error).__name__, url))


def unusable(url: str, error: Exception) -> StorageError:
    """Return the error for a storage that its driver refused, without the secrets of its URL."""
    return StorageError(
        f"the storage {one_line(redacted(url))} cannot be used ({reason_of(error, url)}): check it, or give "
        f"another as {FORMS}"
    )


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


def file_of(url: str) -> Path:
    """Return the file of a sqlite or journal URL."""
    rest = url.partition(":")[2]
    return Path(rest.partition("?")[0].removeprefix("///") if storage_kind(url) == "sqlite" else rest)
