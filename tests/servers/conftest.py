"""Real servers, started for the tests and stopped after them; tests are skipped where the programs are missing."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count

import pytest

from servers.programs import PostgreSQL, Redis, Server, program

NEEDS = {"postgresql": ("postgres", "psycopg", PostgreSQL), "redis": ("redis-server", "redis", Redis)}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup` one process of tests has PostgreSQL, the other Redis."""
    for item in items:
        for name in NEEDS:
            if f"[{name}" in item.name:
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session", params=NEEDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each kind of server in turn."""
    name, driver, kind = NEEDS[request.param]
    if program(name) is None:
        pytest.skip(f"{name} is not installed here")
    if find_spec(driver) is None:
        pytest.skip(f"{driver} is not installed: run these by `make test-storage`")
    server = kind()
    try:
        server.start()
        yield server
    finally:
        server.remove()


_numbers = count()


@pytest.fixture
def url(server: Server) -> str:
    """Return the URL of a database that no other test uses."""
    return server.url(next(_numbers) % 8)
