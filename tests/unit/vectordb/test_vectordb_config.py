"""Configuration, keys, routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastide_vectordb import auth
from bastide_vectordb.config import Keys, load
from bastide_vectordb.errors import ApiError, StartupError
from bastide_vectordb.registry import check_name
from bastide_vectordb.routes import ROUTES, find

PATHS = "storage: {storage_path: /data/s, snapshots_path: /data/x}\n"
KEY = {"QDRANT__SERVICE__API_KEY": "secret"}


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_qdrants_yaml_with_a_key_from_the_environment(tmp_path: Path) -> None:
    text = (
        "log_level: warn\ntelemetry_disabled: true\n"
        "service: {host: 10.0.0.5, http_port: 7000, max_request_size_mb: 8, enable_tls: false}\n"
    )
    loaded = load(config(tmp_path, text + PATHS), KEY)
    assert (loaded.host, loaded.http_port, loaded.log_level) == ("10.0.0.5", 7000, "WARNING")
    assert loaded.max_request_bytes == 8 << 20
    assert loaded.storage_path == Path("/data/s")
    assert loaded.keys.full == b"secret"
    assert "secret" not in repr(loaded)


def test_systemds_credentials_come_first(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("from systemd\n")
    (tmp_path / "read_only_api_key").write_text("reader")
    environ = {**KEY, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(config(tmp_path, PATHS), environ).keys == Keys(b"from systemd", b"reader")


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_key_is_an_error_wherever_it_stands(tmp_path: Path, empty: str) -> None:
    with pytest.raises(StartupError, match="the key is empty"):
        load(config(tmp_path, PATHS), {"QDRANT__SERVICE__API_KEY": empty})
    with pytest.raises(StartupError, match="the key is empty"):
        load(config(tmp_path, PATHS), {**KEY, "QDRANT__SERVICE__READ_ONLY_API_KEY": empty})
    (tmp_path / "api_key").write_text(empty)
    with pytest.raises(StartupError, match="the key is empty"):
        load(config(tmp_path, PATHS), {**KEY, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(StartupError, match=r"service\.api_key: expected a key"):
        load(config(tmp_path, f"service: {{api_key: '{empty.strip()}'}}\n" + PATHS), {})


def test_no_key_only_on_loopback(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        loaded = load(config(tmp_path, f"service: {{host: '{host}'}}\n" + PATHS), {})
        assert loaded.keys.full is None
    for host in ("0.0.0.0", "10.0.0.5", "::"):
        with pytest.raises(StartupError, match="no API key"):
            load(config(tmp_path, f"service: {{host: '{host}'}}\n" + PATHS), {})
    with pytest.raises(StartupError, match="no API key"):
        load(config(tmp_path, PATHS), {"QDRANT__SERVICE__READ_ONLY_API_KEY": "reader"})


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = (
        "log_level: loud\ntelemetry_disabled: false\nservise: {host: x}\n"
        "service: {http_port: 70000, enable_cors: true, colour: 1}\nstorage: {storage_path: data}\n"
    )
    with pytest.raises(StartupError) as caught:
        load(config(tmp_path, text), KEY)
    for name in (
        "log_level",
        "telemetry_disabled",
        "servise.host: unknown setting",
        "service.http_port",
        "service.enable_cors",
        "service.colour",
        "storage.storage_path: expected an absolute path",
        "storage.snapshots_path",
    ):
        assert name in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "a: [", "- x", "\x00"])
def test_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartupError, match=r"config\.yaml"):
        load(config(tmp_path, text), KEY)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"none\.yaml: No such file"):
        load(tmp_path / "none.yaml", KEY)


KEYS = Keys(b"full", b"reader")


@pytest.mark.parametrize(
    ("headers", "reading", "status"),
    [
        ([], True, 401),
        ([(b"api-key", b"full")], False, None),
        ([(b"api-key", b"reader")], True, None),
        ([(b"api-key", b"reader")], False, 403),
        ([(b"api-key", b"")], True, 401),
        ([(b"api-key", b"ful")], True, 401),
        ([(b"api-key", b"fulll")], True, 401),
        ([(b"api-key", b"\xff\xfe")], True, 401),
        ([(b"authorization", b"Bearer full")], False, None),
        ([(b"authorization", b"bearer  reader ")], True, None),
        ([(b"authorization", b"Basic full")], True, 401),
        ([(b"authorization", b"Bearer full"), (b"api-key", b"no")], False, 401),
    ],
)
def test_keys(headers: list[tuple[bytes, bytes]], reading: bool, status: int | None) -> None:
    if status is None:
        auth.check(KEYS, headers, "/collections", reading=reading)
        return
    with pytest.raises(ApiError) as caught:
        auth.check(KEYS, headers, "/collections", reading=reading)
    assert caught.value.status == status


def test_without_a_read_only_key_an_empty_one_opens_nothing() -> None:
    with pytest.raises(ApiError):
        auth.check(Keys(b"full", None), [(b"api-key", b"")], "/collections", reading=True)


def test_only_health_is_open_and_only_reads_are_for_readers() -> None:
    for path in ("/", "/healthz", "/livez", "/readyz"):
        auth.check(KEYS, [], path, reading=True)
    with pytest.raises(ApiError):
        auth.check(KEYS, [], "/metrics", reading=True)
    for route in ROUTES:
        if route.method in {"PUT", "PATCH", "DELETE"} or "snapshot}" in route.path:
            assert not route.reading, route


def test_every_route_is_found_and_the_rest_is_refused_clearly() -> None:
    for route in ROUTES:
        path = route.path
        for name in ("collection", "field", "point", "snapshot", "vector"):
            path = path.replace(f"{{{name}}}", f"x{name}")
        found, values = find(route.method, path)
        assert found == route
        assert all(value == f"x{name}" for name, value in values.items())
    assert find("HEAD", "/healthz")[0].action == "health"
    assert find("GET", "/collections/a%2Fb")[1] == {"collection": "a/b"}
    for method, path, status in (
        ("POST", "/cluster/recover", 400),
        ("PUT", "/collections/x/shards", 400),
        ("GET", "/collections/x/optimizations", 400),
        ("GET", "/quotas", 400),
        ("POST", "/snapshots", 400),
        ("GET", "/telemetry", 400),
        ("DELETE", "/collections/x/points", 405),
        ("GET", "/favicon.ico", 404),
        ("GET", "/collections//points/1", 404),
    ):
        with pytest.raises(ApiError) as caught:
            find(method, path)
        assert caught.value.status == status, path


def test_collection_names() -> None:
    for name in ("a", "mit Leer", "größe", "...", "x" * 255):
        assert check_name(name) == name
    for name in ("", ".", "..", "a/b", "a\\b", "a\0", "a\n", "ü" * 128, "a*", "<"):
        with pytest.raises(ApiError):
            check_name(name)
