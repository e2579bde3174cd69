"""What the checks have in common: what is expected, the hosts, the clients.

Everything about the site comes from one file, ``--bastide-expectations`` or
``$BASTIDE_EXPECTATIONS``. API keys come from files that ``$BASTIDE_API_KEY_FILE`` and
``$BASTIDE_READ_ONLY_API_KEY_FILE`` name: never from an argument, which any user could see.
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest
from qdrant_client import QdrantClient
from testinfra.host import Host

from bastide.schema.expectations import Expectations
from bastide.verify.suite import (
    CONNECT,
    PATIENCE,
    PREFIX,
    Key,
    Machine,
    Measured,
    Saw,
    UnfitInputError,
    name_of,
    read_expectations,
    read_key,
    why_silent,
)

LEFTOVER = 3600  # s after which a collection of an earlier, killed run is cleared away

NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bastide-expectations",
        type=Path,
        default=os.environ.get("BASTIDE_EXPECTATIONS"),
        help="file with what the site must be, as `bastide verify --expectations` prints it",
    )


# From the hosts outward to what people see; files are named after the areas.
ORDER = (
    "identity",
    "services",
    "network",
    "isolation",
    "files",
    "models",
    "air_gap",
    "tls",
    "keys",
    "chat",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the checks into the order in which a reader wants to know; the first answer is last."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        area = item.path.stem.removeprefix("test_")
        return area == "first_answer", ORDER.index(area) if area in ORDER else len(ORDER)

    items.sort(key=place)


# --- what is expected ------------------------------------------------------------------------
@pytest.fixture(scope="session")
def expected(pytestconfig: pytest.Config) -> Expectations:
    """What the site must be."""
    try:
        return read_expectations(pytestconfig.getoption("--bastide-expectations"))
    except UnfitInputError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def api_key() -> Key:
    """The key that may do everything."""
    return _key("BASTIDE_API_KEY_FILE")


@pytest.fixture(scope="session")
def read_only_key() -> Key:
    """The key that may not write to the vector DB."""
    return _key("BASTIDE_READ_ONLY_API_KEY_FILE")


def _key(variable: str) -> Key:
    try:
        return read_key(variable)
    except UnfitInputError as error:
        pytest.fail(str(error), pytrace=False)


# --- what the report shows besides passed and failed -----------------------------------------
@pytest.fixture
def saw(record_property: Callable[[str, object], None]) -> Saw:
    """Note what was seen, in words."""
    return lambda text: record_property("detail", text)


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Note a measured value: name, meaning, value, unit."""

    def note(name: str, label: str, value: float, unit: str) -> None:
        figure = {"name": name, "label": label, "value": round(value, 4), "unit": unit}
        record_property("figure", json.dumps(figure))

    return note


# --- hosts -----------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def silent() -> dict[str, str]:
    """Hosts that gave no answer, so that each is waited for only once."""
    return {}


@pytest.fixture
def machine(host: Host, expected: Expectations, silent: dict[str, str]) -> Machine:
    """The host under test and what it must be."""
    try:
        name = name_of(host, expected)
    except UnfitInputError as error:
        pytest.fail(str(error), pytrace=False)
    if name not in silent:
        silent[name] = why_silent(host)
    if silent[name]:
        pytest.fail(f"{name} cannot be asked: {silent[name]}", pytrace=False)
    return Machine(name, host, expected.hosts[name])


# --- clients ---------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def tls(expected: Expectations) -> ssl.SSLContext:
    """TLS as a careful client does it: only the site CA is trusted.

    Dates have a check of their own: a wrong clock must not fail everything else.
    """
    context = ssl.create_default_context(cafile=expected.gateway.authority)
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


@pytest.fixture(scope="session")
def web(expected: Expectations, tls: ssl.SSLContext) -> Iterator[httpx.Client]:
    """A plain https client without any key."""
    # trust_env: a proxy that the operator's shell names must not see the site's traffic.
    with httpx.Client(
        base_url=expected.gateway.url,
        verify=tls,
        trust_env=False,
        timeout=httpx.Timeout(PATIENCE, connect=CONNECT),
    ) as client:
        yield client


@pytest.fixture(scope="session")
def chat(expected: Expectations, tls: ssl.SSLContext, api_key: Key) -> Iterator[openai.OpenAI]:
    """The `openai` client, as an application would set it up."""
    transport = openai.DefaultHttpxClient(verify=tls, trust_env=False)
    with openai.OpenAI(
        base_url=f"{expected.gateway.url}/v1",
        api_key=api_key.value,
        http_client=transport,
        timeout=PATIENCE,
        max_retries=0,
    ) as client:
        yield client


@pytest.fixture(scope="session")
def vectordb(expected: Expectations, tls: ssl.SSLContext, api_key: Key) -> Iterator[QdrantClient]:
    """`qdrant-client`, as an application would set it up."""
    client = _connect_vectordb(expected, tls, api_key)
    _clear_leftovers(client)
    yield client
    client.close()


@pytest.fixture(scope="session")
def vectordb_reader(
    expected: Expectations, tls: ssl.SSLContext, read_only_key: Key
) -> Iterator[QdrantClient]:
    """`qdrant-client` with the read-only key."""
    client = _connect_vectordb(expected, tls, read_only_key)
    yield client
    client.close()


def _connect_vectordb(expected: Expectations, tls: ssl.SSLContext, key: Key) -> QdrantClient:
    return QdrantClient(
        url=expected.gateway.url,
        port=expected.gateway.port,
        prefix="vectordb",
        api_key=key.value,
        timeout=int(PATIENCE),
        check_compatibility=False,
        verify=tls,
        trust_env=False,
        headers=_pass_of_a_gate(),
    )


def _pass_of_a_gate() -> dict[str, str]:
    """What lets a gate write while clients may not: an upgrade under way hands it over."""
    file = os.environ.get("BASTIDE_PASS_FILE")
    return {"x-bastide-pass": Path(file).read_text("utf-8").strip()} if file else {}


def _clear_leftovers(client: QdrantClient) -> None:
    """Delete what a run left behind that was killed more than an hour ago."""
    for each in client.get_collections().collections:
        stamp = each.name.removeprefix(PREFIX).partition("-")[0]
        if each.name.startswith(PREFIX) and stamp.isdigit() and time.time() - int(stamp) > LEFTOVER:
            client.delete_collection(each.name)


@pytest.fixture(scope="module")
def collection(vectordb: QdrantClient) -> Iterator[str]:
    """The name of a collection of this run's own, deleted at the end."""
    name = f"{PREFIX}{int(time.time())}-{secrets.token_hex(4)}"
    yield name
    vectordb.delete_collection(name)
