"""The real HAProxy: who may do what, how much, and what the audit log says of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from bastide_host import gateway, keys
from gateway_client import CHAT, COLLECTIONS, EMBED, MODELS, SERVER, Client, entries
from gateway_stand import KEY, Stand, digest_of, short_folder
from haproxy_program import haproxy

from bastide.schema.access import Access, Limits, Role
from bastide.schema.client_key import UNLIMITED, ClientKey, OwnLimits
from bastide.site import keystore

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(haproxy() is None, reason="no haproxy here, and Debian's cannot be had"),
]
NOW = datetime.now(UTC)
SHORT_DAY = {"local DAY = 86400": "local DAY = 6", "mod(86400),neg,add(86400)": "mod(6),neg,add(6)"}
SHORT = {"mod(60),neg,add(60)": "mod(4),neg,add(4)", "div(60)": "div(4)"}  # a minute of 4 s


def client_key(
    name: str, role: Role = Role.USER, limits: OwnLimits = UNLIMITED, lasts: float | None = None
) -> ClientKey:
    time_left = None if lasts is None else timedelta(seconds=lasts)
    return keystore.new_client(name, role, limits, digest_of(name), datetime.now(UTC), time_left)


@contextlib.contextmanager
def raised(
    clients: tuple[ClientKey, ...],
    access: Access | None = None,
    changes: dict[str, str] | None = None,
) -> Iterator[Stand]:
    with short_folder() as folder:
        stand = Stand(folder, access, changes, SERVER)
        stand.keys = keystore.keys_map(clients)
        stand.paths.secrets.mkdir(parents=True)
        with stand.running():
            yield stand


def tell(stand: Stand, clients: tuple[ClientKey, ...]) -> None:
    """As `bastide keys` does it."""
    stand.keys = keystore.keys_map(clients)
    assert keys.set_keys(stand.paths, {"keys": stand.keys})["state"] == "live"


def window_begins(seconds: int = 4) -> None:
    """Wait until a window of the gateway's has just begun."""
    now = int(time.time()) // seconds
    assert gateway.wait_until(lambda: int(time.time()) // seconds > now, seconds + 2)


# --- roles -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def strict() -> Iterator[Stand]:
    clients = tuple(client_key(str(role), role) for role in Role)
    with raised(clients, Access(readers_ask_models=False)) as stand:
        yield stand


SNAPSHOTS = (
    "/vectordb/snapshots",
    "/vectordb/collections/x/%73napshots/a",
    "/vectordb/collections/x/snapshots/a.snapshot",
    "/vectordb/collections/x/shards/0/snapshots",
)
ALLOWED = {  # route → roles
    ("GET", MODELS): {"admin", "user", "reader"},
    ("POST", CHAT): {"admin", "user"},
    ("POST", "/v1/completions"): {"admin", "user"},
    ("POST", "/v1/responses"): {"admin", "user"},
    ("POST", EMBED): {"admin", "user"},
    ("GET", COLLECTIONS): {"admin", "user", "reader"},
    ("GET", "/vectordb/collections/snapshots_of_x/points/1"): {"admin", "user", "reader"},
    **{("GET", path): {"admin"} for path in SNAPSHOTS},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("method", "path"), ALLOWED)
def test_every_role_may_do_what_it_may(strict: Stand, role: Role, method: str, path: str) -> None:
    answer = Client(strict, str(role)).ask(method, path, {} if method == "POST" else None)
    expected = 200 if role in ALLOWED[method, path] else 403
    assert answer.status == expected, answer.body
    if expected == 403:
        words = answer.json["status"]["error"] if "vectordb" in path else answer.code
        assert words


@pytest.mark.parametrize("role", Role)
def test_monitoring_is_for_admins_and_monitors(strict: Stand, role: Role) -> None:
    status = Client(strict, str(role)).ask("GET", "/monitoring/").status
    assert (status == 403) == (role in {Role.USER, Role.READER})


@pytest.mark.parametrize(
    "path", ["/vectordb/metrics", "/vectordb/%6detrics", "/vectordb/telemetry"]
)
def test_what_is_closed_is_closed_however_it_is_written(strict: Stand, path: str) -> None:
    assert Client(strict, "admin").ask("GET", path).status == 404


def test_a_check_of_the_configuration_writes_nothing(strict: Stand, tmp_path: Path) -> None:
    program = haproxy()
    assert program
    for name in ("gateway-keys.map", "vectordb-keys.map"):
        (tmp_path / name).write_text("x y\n")
    before = sorted(tmp_path.iterdir())
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": str(tmp_path),
           "BASTIDE_TOKENS_LUA": str(strict.folder / "gateway-tokens.lua")}  # fmt: skip
    argv = [program, "-c", "-f", str(strict.folder / "haproxy.cfg")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_browser_gives_the_key_as_a_password(strict: Stand) -> None:
    asked = Client(strict, None).ask("GET", "/monitoring/")
    assert (asked.status, asked.headers["www-authenticate"]) == (401, "Basic realm=bastide")
    for who, status in (("monitor", 404), ("user", 403), ("nobody", 401)):
        basic = httpx.BasicAuth("me", who)._auth_header
        assert Client(strict, None).ask(
            "GET", "/monitoring/x", headers={"Authorization": basic}
        ).status in {status, 200 if who == "monitor" else status}


def test_a_reader_of_an_earlier_site_may_ask() -> None:
    with raised((client_key("r", Role.READER),)) as stand:
        assert Client(stand, "r").chat().status == 200


def test_the_vector_db_gets_its_own_key_and_never_the_callers(strict: Stand) -> None:
    for role, key in (("admin", "rw"), ("user", "rw"), ("reader", "ro")):
        for headers in ({}, {"api-key": role}):
            client = Client(strict, None if headers else role)
            seen = client.ask("GET", COLLECTIONS, headers=headers).json["headers"]
            assert {k.lower(): v for k, v in seen.items()}["api-key"] == key
            assert role not in {v for k, v in seen.items() if k.lower() != "host"}
            assert "authorization" not in {name.lower() for name in seen}


# --- limits ----------------------------------------------------------------------------------
def test_a_minutes_requests_are_counted_exactly_and_a_key_by_itself() -> None:
    limits = Limits(requests_per_minute=5, vectordb_requests_per_minute=3)
    clients = (client_key("a", limits=OwnLimits()),
               client_key("b", limits=OwnLimits(requests_per_minute=8)),
               client_key("free"))  # fmt: skip
    with raised(clients, Access(limits=limits), SHORT) as stand:
        a, b, free = (Client(stand, name) for name in ("a", "b", "free"))
        window_begins()
        seen = {who.key: [who.chat().status for _ in range(12)] for who in (a, b, free)}
        assert seen == {"a": [200] * 5 + [429] * 7, "b": [200] * 8 + [429] * 4, "free": [200] * 12}
        refused = a.chat()
        assert refused.code == "rate_limit_exceeded"
        assert 1 <= int(refused.headers["retry-after"]) <= 4
        vectors = [a.ask("GET", COLLECTIONS) for _ in range(4)]
        assert [each.status for each in vectors] == [200] * 3 + [429]
        assert vectors[-1].json["status"]["error"]
        assert vectors[-1].headers["retry-after"]
        window_begins()
        assert a.chat().status == 200


def test_many_at_once_get_no_more_than_the_limit() -> None:
    clients = (client_key("a", limits=OwnLimits(requests_per_minute=40)),)
    with raised(clients, changes=SHORT) as stand:
        window_begins()
        seen: list[int] = []

        def some() -> None:
            client = Client(stand, "a")
            seen.extend(client.ask("GET", MODELS).status for _ in range(10))

        threads = [threading.Thread(target=some) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (seen.count(200), seen.count(429)) == (40, 40)


def test_requests_at_once_are_limited_by_key() -> None:
    clients = (client_key("a", limits=OwnLimits(concurrent_requests=2)), client_key("b"))
    with raised(clients) as stand:
        streams = [Client(stand, "a") for _ in range(2)]
        begun = [each.begin("POST", CHAT, {"stream": True, "prompt": 1, "completion": 20,
                                           "gap": 0.05}) for each in streams]  # fmt: skip
        refused = Client(stand, "a").chat()
        assert (refused.status, refused.code) == (429, "concurrency_exceeded")
        assert refused.headers["retry-after"]
        assert Client(stand, "b").chat().status == 200
        assert Client(stand, "a").ask("GET", MODELS).status == 200
        assert all(b"[DONE]" in each.read() for each in begun)
        assert gateway.wait_until(lambda: Client(stand, "a").chat().status == 200, 5)


def test_tokens_of_a_day_are_counted_and_outlive_reloads() -> None:
    clients = (client_key("a", limits=OwnLimits(tokens_per_day=100)), client_key("b"))
    with raised(clients) as stand:
        a = Client(stand, "a")
        assert a.chat(30, 10).status == 200
        assert b"[DONE]" in a.chat(20, 19, stream=True).body
        assert a.chat(10, 10, stream=True, cut=17).status == 200  # 99 by now
        stand.reload()
        a = Client(stand, "a")
        assert a.ask("POST", EMBED, {"prompt": 1, "completion": 0}).status == 200
        refused = a.chat()
        assert (refused.status, refused.code) == (429, "insufficient_quota")
        assert 0 < int(refused.headers["retry-after"]) <= 86400
        assert a.ask("GET", MODELS).status == 200
        assert a.ask("GET", COLLECTIONS).status == 200
        assert Client(stand, "b").chat(1000, 1000).status == 200
        last = [each for each in entries(stand, 8) if each["identity"] == "a"]
        tokens = [(e["prompt_tokens"], e["completion_tokens"], e["tokens_exact"]) for e in last]
        assert tokens[:4] == [(30, 10, True), (20, 19, True), (10, 10, True), (1, 0, True)]
        assert tokens[4:] == [(None, None, None)] * 3
        assert last[4]["reason"] == "tokens"


def test_tokens_of_many_clients_at_once_are_counted_and_nothing_breaks() -> None:
    """With one Lua for all threads, Debian's HAProxy mixed filters up and died (its issue 2467)."""
    with raised(tuple(client_key(name) for name in "abc")) as stand:

        def ask(number: int) -> int:
            client = Client(stand, "abc"[number % 3])
            return client.chat(3, 5, stream=number % 2 == 0).status

        with ThreadPoolExecutor(12) as pool:
            statuses = list(pool.map(ask, range(9000)))
        assert not stand.ended(), stand.log()[-2000:]
        assert "Lua" not in stand.log()
        good = statuses.count(200)
        assert good > 1000
        (day,) = stand.runtime.glob("tokens-*")
        counted = sum(int(line.split()[1]) for line in day.read_text().splitlines())
        assert counted == 8 * good, Counter(statuses)
        assert "DroppedLogs: 0" in gateway.ask(stand.paths, "show info")
        assert stand.log().count('"status":200') == good


def test_at_midnight_a_key_has_its_tokens_again_and_only_then() -> None:
    clients = (client_key("a", limits=OwnLimits(tokens_per_day=20)),)
    with raised(clients, changes=SHORT_DAY) as stand:
        (stand.runtime / f"tokens-{int(time.time()) // 6 - 5}").touch()  # before days of rest
        whole_days = 0
        for _ in range(12):  # of a day that ends in between, nothing can be said
            window_begins(6)
            day = int(time.time()) // 6
            answers = [Client(stand, "a").chat(10, 10) for _ in range(3)]
            if int(time.time()) // 6 == day:
                assert [each.status for each in answers] == [200, 429, 429]
                assert answers[1].code == "insufficient_quota"
                assert 0 < int(answers[1].headers["retry-after"]) <= 6
                whole_days += 1
            if whole_days == 3:
                break
        assert whole_days == 3
        kept = {path.name for path in stand.runtime.glob("tokens-*")}
        assert f"tokens-{day}" in kept
        assert kept <= {f"tokens-{day - 1}", f"tokens-{day}"}


def test_an_answer_that_is_left_is_counted_as_far_as_it_came() -> None:
    clients = (client_key("a", limits=OwnLimits(tokens_per_day=50)),)
    with raised(clients) as stand:
        a = Client(stand, "a")
        wish = {"stream": True, "prompt": 10, "completion": 2000, "gap": 0.01}
        answer = a.begin("POST", CHAT, wish)
        for _ in range(100):
            answer.readline()
        a.connection.close()
        answer.close()
        entry = entries(stand, 1)[0]
        assert entry["tokens_exact"] is False
        assert 40 <= entry["completion_tokens"] < 2000
        assert Client(stand, "a").chat().code == "insufficient_quota"


def test_a_slow_sender_gets_408_and_holds_no_slot() -> None:
    with raised((client_key("a"),), Access(body_seconds=1)) as stand:
        slow = []
        for _ in range(20):  # more than all slots of both servers
            sock = socket.create_connection(("127.0.0.1", stand.port), 10)
            sock.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n"
                         b"Content-Length: 100\r\n\r\n{" % CHAT.encode())  # fmt: skip
            slow.append(sock)
        assert Client(stand, "a").chat().status == 200
        for sock in slow:
            said = sock.recv(4096)
            assert said.startswith(b"HTTP/1.1 408"), said
            assert b"request_timeout" in said
            sock.close()


def test_a_body_of_unknown_length_is_refused_over_http2_as_well() -> None:
    with raised((client_key("a"),)) as stand:
        base = f"http://127.0.0.1:{stand.port}"
        with httpx.Client(http1=False, http2=True, base_url=base, trust_env=False) as client:
            headers = {"Authorization": "Bearer a"}
            refused = client.post(CHAT, headers=headers, content=iter([b"{}"]))
            assert (refused.http_version, refused.status_code) == ("HTTP/2", 411)
            assert client.post(CHAT, headers=headers, json={}).status_code == 200


def test_one_address_gets_no_more_than_its_connections() -> None:
    with raised((client_key("a"),), Access(connections_per_address=3)) as stand:
        held = [Client(stand, "a") for _ in range(3)]
        assert [each.ask("GET", MODELS).status for each in held] == [200] * 3
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            Client(stand, "a").ask("GET", MODELS)
        held[0].connection.close()
        assert gateway.wait_until(lambda: _reaches(stand), 5)


def _reaches(stand: Stand) -> bool:
    try:
        return Client(stand, "a").ask("GET", MODELS).status == 200
    except OSError:
        return False


# --- keys that come and go -------------------------------------------------------------------
def test_a_new_key_is_known_and_a_revoked_one_is_not_from_the_next_request_on() -> None:
    a, b = client_key("a"), client_key("b")
    with raised((a,)) as stand:
        first, second, stream = Client(stand, "a"), Client(stand, "b"), Client(stand, "a")
        assert (first.chat().status, second.chat().status) == (200, 401)
        begun = stream.begin("POST", CHAT, {"stream": True, "prompt": 1, "completion": 30,
                                            "gap": 0.03})  # fmt: skip
        begun.readline()
        tell(stand, (b,))
        refused = first.chat()  # on the connection that it has kept
        assert (refused.status, refused.code) == (401, "invalid_api_key")
        assert second.chat().status == 200
        assert b"[DONE]" in begun.read(), "an answer that has begun is not cut"
        tell(stand, (a, b))
        assert first.chat().status == 200


def test_a_process_that_is_on_its_way_out_knows_the_keys_as_well() -> None:
    a, b = client_key("a"), client_key("b")
    with raised((a, b)) as stand:
        kept, stream = Client(stand, "a"), Client(stand, "b")
        assert kept.chat().status == 200
        begun = stream.begin("POST", CHAT, {"stream": True, "prompt": 1, "completion": 60,
                                            "gap": 0.03})  # fmt: skip
        begun.readline()
        stand.reload()
        tell(stand, (b,))
        assert kept.chat().status == 401, "its connection leads to the old process"
        assert b"[DONE]" in begun.read(), "a reload cuts no answer"
        assert begun.status == 200
        assert Client(stand, "a").chat().status == 401


def test_a_reload_keeps_keys_that_came_while_it_ran() -> None:
    with raised((client_key("a"),)) as stand:
        tell(stand, (client_key("b"),))
        assert stand.gateway
        before = gateway.worker(stand.paths)
        stand.gateway.send_signal(12)  # nothing is configured anew
        assert gateway.takes_over(stand.paths, before, 20)
        assert (Client(stand, "a").chat().status, Client(stand, "b").chat().status) == (401, 200)


def test_a_rotated_key_ends_by_itself() -> None:
    new = digest_of("new")
    before = client_key("a", limits=OwnLimits(requests_per_minute=0))
    with raised((before,)) as stand:
        tell(stand, (keystore.rotated(before, new, datetime.now(UTC), timedelta(seconds=3)),))
        assert Client(stand, "a").chat().status == 200
        assert Client(stand, "new").chat().status == 200
        assert gateway.wait_until(lambda: Client(stand, "a").chat().status == 401, 6)
        assert Client(stand, "new").chat().status == 200
        found = entries(stand, 4)
        ids = {(e["identity"], e["key"], e["status"]) for e in found}
        assert ids == {("a", digest_of("a")[:8], 200), ("a", digest_of("a")[:8], 401),
                       ("a", new[:8], 200)}  # fmt: skip
        assert {e["reason"] for e in found if e["status"] == 401} == {"expired_key"}


def test_a_thousand_keys_change_at_once() -> None:
    many = tuple(client_key(f"c{number}") for number in range(1000))
    with raised((client_key("a"), *many[:10])) as stand:
        wrong: list[int] = []
        end = threading.Event()

        def watch() -> None:
            client = Client(stand, "a")
            while not end.is_set():
                if (status := client.ask("GET", MODELS).status) != 200:
                    wrong.append(status)

        watcher = threading.Thread(target=watch)
        watcher.start()
        for count in (1000, 10, 1000):
            tell(stand, (client_key("a"), *many[:count]))
        end.set()
        watcher.join()
        assert wrong == []
        assert Client(stand, "c999").chat().status == 200


# --- the audit log ---------------------------------------------------------------------------
def test_the_log_says_who_what_when_and_how_much_and_never_the_text() -> None:
    with raised((client_key("a"),)) as stand:
        a = Client(stand, "a")
        a.ask("POST", f"{CHAT}?q=canary-query", {"prompt": 7, "completion": 9, "x": "canary-body"})
        a.ask("GET", COLLECTIONS)
        Client(stand, "canary-key").chat()
        Client(stand, None).chat()
        found = entries(stand, 4)
        chat = next(e for e in found if e["identity"] == "a" and e["path"] == CHAT)
        assert {"at", "time", "id", "client", "server", "wait_ms", "first_byte_ms"} <= set(chat)
        assert abs(chat["at"] - time.time()) < 30
        wanted = {"format": "bastide.access/1", "identity": "a", "role": "user", "method": "POST",
                  "path": CHAT, "status": 200, "reason": "-", "prompt_tokens": 7,
                  "completion_tokens": 9, "tokens_exact": True, "backend": "llm"}  # fmt: skip
        assert {name: chat[name] for name in wanted} == wanted
        assert {e["path"] for e in found if e["identity"] == "a"} == {CHAT, COLLECTIONS}
        nobody = sorted(e["reason"] for e in found if e["identity"] == "-")
        assert nobody == ["no_key", "unknown_key"]
        assert "canary" not in stand.log()


FORGED = {"X-Request-Id": "forged", "x-bastide-identity": "forged", "X-BASTIDE-Identity": "forged"}


@pytest.mark.parametrize("days", [None, 30])
def test_servers_are_told_who_asks_only_for_the_record_of_texts(days: int | None) -> None:
    with short_folder() as folder:
        stand = Stand(folder, server=SERVER)
        stand.keys, stand.texts_days = keystore.keys_map((client_key("a"),)), days
        stand.paths.secrets.mkdir(parents=True)
        with stand.running():
            for path, told in ((CHAT, days is not None), (EMBED, False), (COLLECTIONS, False)):
                method = "GET" if path == COLLECTIONS else "POST"
                body: dict[str, str] | None = None if path == COLLECTIONS else {}
                answer = Client(stand, "a").ask(method, path, body, FORGED)
                seen = [(k.lower(), v) for k, v in answer.json["headers"].items()]
                number = answer.headers["x-request-id"]
                assert "forged" not in str(seen)
                assert [v for k, v in seen if k == "x-request-id"] == [number]
                who = [v for k, v in seen if k == "x-bastide-identity"]
                assert who == (["a"] if told else []), path
            ids = {each["id"] for each in entries(stand, 3)}
            assert number in ids


@pytest.mark.parametrize(
    "path", [b'/v1/x","identity":"admin', b"/v1/\\", b"/v1/" + b"x" * 9000, b"/v1/%22%00%ff"]
)
def test_no_path_can_forge_or_break_a_line(strict: Stand, path: bytes) -> None:
    before = len(entries(strict))
    with socket.create_connection(("127.0.0.1", strict.port), 10) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer user\r\n"
                     b"Connection: close\r\n\r\n")  # fmt: skip
        assert sock.recv(65536).startswith(b"HTTP/1.1 404")
    entry = entries(strict, before + 1)[-1]
    assert entry["identity"] == "user"
    assert path.decode().startswith(entry["path"])


def test_health_needs_no_key_and_tells_no_names(strict: Stand) -> None:
    answer = Client(strict, None).ask("GET", "/healthz")
    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "ok"
    assert KEY not in answer.body.decode()
