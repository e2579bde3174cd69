"""The embedding server of a generation that is not live yet, run beside the one that is."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from types import TracebackType
from typing import Any

from bastide_host.host import AgentError, JsonObject, Paths, read_json, run, tail, write_atomic
from bastide_host.units import answers

# Not a name like those of the units that stay: preflight looks for strangers among them, and a pass
# that was killed leaves this one behind.
UNIT = "reembed-bastide.service"
_UNIT_FILE = f"/run/systemd/system/{UNIT}"  # gone after a reboot, as the server is
_CONFIG = "/run/bastide-reembed.json"
_LIVE = "/opt/bastide/current"
_START_SECONDS = 180.0
_ANSWER_SECONDS = 600.0
NOT_STARTED = "BAS-6095"
TEXT_REFUSED = "BAS-6097"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(paths: Paths, number: int) -> tuple[str, int]:
    """Start the embedding server of a generation on a free port of loopback; return where.

    It is the generation's own unit, with its user and its sandbox; only the folder that it runs
    from and the address are others.

    Raises:
        AgentError: The generation has none, or it does not answer.
    """
    folder = paths.generations / str(number)
    config = read_json(folder / "etc/embeddings.json")
    if config is None:
        raise AgentError(NOT_STARTED, f"generation {number} has no embedding server", "apply again")
    here = f"/opt/bastide/generations/{number}"
    address = ("127.0.0.1", _free_port())
    config["server"] = {**config["server"], "host": address[0], "port": address[1]}
    unit = (folder / "units/bastide-embeddings.service").read_text(encoding="utf-8")
    unit = unit.replace(f"{_LIVE}/etc/embeddings.json", _CONFIG).replace(_LIVE, here)
    unit_file = paths.at(_UNIT_FILE)
    unit_file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomic(paths.at(_CONFIG), json.dumps(config).replace(_LIVE, here).encode())
    write_atomic(unit_file, unit.encode())
    run(["systemctl", "daemon-reload"], timeout=60)
    done = run(["systemctl", "restart", UNIT], timeout=300)
    _wait(paths, f"http://{address[0]}:{address[1]}/healthz", tail(done))
    return address


def _wait(paths: Paths, url: str, said: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while fault := answers(paths, url):
        state = run(["systemctl", "is-active", UNIT], timeout=20).stdout.strip()
        if state not in {"active", "activating"} or time.monotonic() > deadline:
            argv = ["journalctl", f"--unit={UNIT}", "--lines=20", "--no-pager", "--output=cat"]
            words = run(argv, timeout=20).stdout.strip()
            raise AgentError(
                NOT_STARTED,
                f"the new embedding server is {state or 'gone'}: {fault} {said}\n{words}",
                "the cause is usually in these lines; bastide apply can be repeated",
            )
        time.sleep(0.1)


def stop_server(paths: Paths) -> None:
    """Stop the server that ``start_server`` started, whoever called that; none is no error."""
    unit_file = paths.at(_UNIT_FILE)
    if unit_file.exists():
        run(["systemctl", "stop", UNIT], timeout=120)
        unit_file.unlink()
        paths.at(_CONFIG).unlink(missing_ok=True)
        run(["systemctl", "daemon-reload"], timeout=60)


class Embedder:
    """Texts to vectors by the model of a generation; its server starts with the first text.

    Args:
        paths: The host's paths.
        number: The generation.
    """

    def __init__(self, paths: Paths, number: int) -> None:
        self._paths = paths
        self._number = number
        self._address: tuple[str, int] | None = None
        config = read_json(paths.generations / str(number) / "etc/embeddings.json") or {}
        self._model = str(config.get("model", {}).get("alias", ""))

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._address is not None:
            stop_server(self._paths)

    def embed(self, points: list[tuple[Any, str]]) -> list[list[float]]:
        """Return the vectors of texts, each given with the id of its point.

        Raises:
            AgentError: The server does not start or answer, or refuses a text.
        """
        if not points:
            return []
        if self._address is None:
            self._address = start_server(self._paths, self._number)
        status, answer = self._post([text for _, text in points])
        if status == http.client.OK:
            ordered = sorted(answer["data"], key=lambda each: each["index"])
            return [each["embedding"] for each in ordered]
        if len(points) > 1:  # which one it is, only one by one can tell
            return [self.embed([point])[0] for point in points]
        raise AgentError(
            TEXT_REFUSED,
            f"the new embedding server refuses the text of point {points[0][0]}: "
            f"{status} {json.dumps(answer)[:300]}",
            "shorten or remove it, then apply again: the pass goes on where it was",
        )

    def _post(self, texts: list[str]) -> tuple[int, JsonObject]:
        host, port = self._address or ("", 0)
        body = json.dumps({"model": self._model, "input": texts})
        connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
        try:
            with contextlib.closing(connection):
                headers = {"content-type": "application/json"}
                connection.request("POST", "/v1/embeddings", body, headers)
                response = connection.getresponse()
                text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise AgentError(
                NOT_STARTED,
                f"the new embedding server gave no answer: {error!r}",
                f"see journalctl --unit={UNIT}, then apply again: the pass goes on where it was",
            ) from error
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, {"answer": text[:300]}
