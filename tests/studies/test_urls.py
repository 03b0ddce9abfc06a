"""A storage's URL: its driver, and its secrets, which are not shown."""

import pytest

from edgeprune.errors import StorageError
from edgeprune.studies import urls
from edgeprune.studies.urls import redacted, unusable, with_driver, without_secrets

SHOWN = [
    ("postgresql://me:secret@host:5432/db", "postgresql://...@host:5432/db"),
    ("postgresql+psycopg2://me:secret@host/db", "postgresql+psycopg2://...@host/db"),
    ("mysql://host/db?user=me&password=secret", "mysql://host/db?user=...&password=..."),
    ("postgresql://host/db?sslmode=require&sslpassword=secret", "postgresql://host/db?sslmode=require&sslpassword=..."),
    ("redis://:secret@host:6379/0", "redis://...@host:6379/0"),
    ("redis://host/0?Password=secret", "redis://host/0?Password=..."),
    ("mysql://me:se?cret@host/db", "mysql://..."),
    ("mysql://host/db?password=sec@ret", "mysql://..."),
    ("mysql://me:sec@ret@host/db", "mysql://...@host/db"),
    ("postgresql://me:sec/ret@host/db", "postgresql://...@host/db"),
    ("postgresql:me:secret@host/db", "postgresql://...@host/db"),
    ("postgresql://me@host/db", "postgresql://me@host/db"),
    ("sqlite:///a/b.db", "sqlite:///a/b.db"),
    ("sqlite:///a/b.db?mode=ro", "sqlite:///a/b.db?mode=ro"),
    ("journal:/a@b/c?d", "journal:/a@b/c?d"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "shown"), SHOWN)
def test_what_is_shown_and_kept_of_a_url(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert redacted(shown) == shown
    for part in ("secret", "se?cret", "sec@ret", "sec/ret"):
        assert part not in shown


@pytest.mark.parametrize(("url", "shown"), SHOWN)
def test_a_driver_does_not_give_the_password_away(url: str, shown: str) -> None:
    passwords = ("secret", "se?cret", "sec@ret", "sec/ret")
    message = str(unusable(url, ValueError(f"no login to {url!r} with password {url}\nsecond line")))
    assert "\n" not in message
    if shown != url:
        assert not [password for password in passwords if password in message]


def test_a_password_is_hidden_as_it_is_written_and_as_it_is_decoded() -> None:
    url = "postgresql://me:s%40crets@host/db"
    assert without_secrets("bad s@crets, bad s%40crets", url) == "bad ..., bad ..."
    assert "not shown" in without_secrets("a password", "mysql://me:a@host/db")


@pytest.mark.parametrize(
    ("url", "installed", "full"),
    [
        ("postgresql://me:a@h/db", ("psycopg", "psycopg2"), "postgresql+psycopg://me:a@h/db"),
        ("postgres://me:a@h/db", ("psycopg2",), "postgresql+psycopg2://me:a@h/db"),
        ("postgresql+pg8000://me:a@h/db", ("psycopg",), "postgresql+pg8000://me:a@h/db"),
        ("mysql://me:a@h/db", ("pymysql",), "mysql+pymysql://me:a@h/db"),
        ("mysql://me:a@h/db", ("MySQLdb", "pymysql"), "mysql://me:a@h/db"),
        ("redis://h/0", ("redis",), "redis://h/0"),
        ("sqlite:///a.db", (), "sqlite:///a.db"),
    ],
)
def test_the_driver_that_is_installed_is_used(
    url: str, installed: tuple[str, ...], full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "find_spec", lambda name: name if name in installed else None)
    assert with_driver(url) == full


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("postgresql://me:secret@h/db", "needs the driver psycopg, .* pip install 'edgeprune.storage.'"),
        ("rediss://:secret@h/0", "needs the driver redis, .* pip install 'edgeprune.storage.'"),
        ("mysql://me:secret@h/db", "needs the driver pymysql, .* pip install 'pymysql'"),
    ],
)
def test_a_driver_that_is_missing_is_one_line(url: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "find_spec", lambda name: None)
    with pytest.raises(StorageError, match=line) as error:
        with_driver(url)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
