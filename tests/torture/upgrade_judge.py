"""What a host and the gateway look like after a point, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from upgrade_data import COLLECTION, Gateway, NetworkThread

OPERATIONS = ("install", "upgrade", "rollback")
# Runs on a host; one answer with all that a point is judged by.
LOOK = r"""
import hashlib, json, pathlib, socket, subprocess, sys
state = pathlib.Path("/var/lib/bastide")
agent = pathlib.Path("/opt/bastide/bin/bastide_host.py")
found = {"facts": {}, "health": {}, "models": {}, "servers": [], "snapshots": {}}
if agent.exists():
    for name, more in (("facts", []), ("health", ["--seconds=60"])):
        argv = [sys.executable, str(agent), name, *more]
        found[name] = json.loads(subprocess.run(argv, capture_output=True, text=True).stdout)
for path in state.glob("models/*.gguf"):
    found["models"][path.name[:64]] = hashlib.sha256(path.read_bytes()).hexdigest()
found["evidence"] = sorted(path.name for path in state.glob("evidence/*"))
found["transition"] = (state / "transition.json").exists()
found["fence"] = (state / "vectordb.fence").exists()
good = state / "good.json"
found["good"] = json.loads(good.read_text()) if good.exists() else {}
for path in state.glob("snapshots/*"):
    stamp = path / "snapshot.json"
    read = json.loads(stamp.read_text()) if stamp.exists() else {}
    kept = ("id", "generation", "created", "points")
    found["snapshots"][path.name] = {key: read[key] for key in kept if key in read}
with socket.socket(socket.AF_UNIX) as asked:
    try:
        asked.connect("/run/bastide-gateway/admin.sock")
        asked.sendall(b"show stat\n")
        text = b""
        while part := asked.recv(65536):
            text += part
        rows = [line.split(",") for line in text.decode().splitlines() if line[:1] != "#"]
        found["servers"] = [[r[0], r[1], r[17]] for r in rows if len(r) > 17]
    except OSError:
        pass
print(json.dumps(found))
"""


def faults_of(seen: Mapping[str, Any], digest: str) -> Iterator[str]:
    """Yield what is not as it should be on a host.

    Args:
        seen: What it said.
        digest: The content of the generation that it should run; empty: it should run none.
    """
    facts = seen["facts"]
    if seen["transition"]:
        yield "a transition is open"
    if seen["fence"]:
        yield "the fence is up"
    live = facts.get("generation"), facts.get("generation_digest") or ""
    if live[1] != digest:
        yield f"generation {live[0]} is not what its release is"
    last = (seen["good"].get("good") or [{}])[-1]
    if digest and (last.get("number"), last.get("content")) != live:
        yield f"marked good: {last}, live: {live}"
    yield from _services(seen)
    yield from _files(seen)


def _services(seen: Mapping[str, Any]) -> Iterator[str]:
    idle = [unit for unit, state in seen["facts"].get("units", {}).items() if state != "active"]
    if idle or "error" in seen["health"]:
        yield f"not active: {idle}; {seen['health'].get('error', '')}"
    for backend, server, state in seen["servers"]:
        if server.startswith("host") and not state.startswith("UP"):
            yield f"the gateway sees {backend}/{server} {state}"


def _files(seen: Mapping[str, Any]) -> Iterator[str]:
    used = set(seen["facts"].get("contents", {}).values())
    for name, digest in seen["models"].items():
        if name != digest and name in used:  # another one is looked at when it is wanted again
            yield f"model {name[:12]} is corrupted"
    for name, stamp in seen["snapshots"].items():
        if not stamp and not name.startswith("aside-"):
            yield f"half of snapshot {name} was left"


def chat(gateway: Gateway, thread: NetworkThread) -> str:
    """Ask for one short answer; return what is wrong, empty if nothing is."""
    models = thread.do(lambda: gateway.ask("GET", "/v1/models"))[1]
    said = [{"role": "user", "content": "Say hi."}]
    body = {"model": models["data"][0]["id"], "max_tokens": 4, "messages": said}
    status, answer, _ = thread.do(lambda: gateway.ask("POST", "/v1/chat/completions", body, 60))
    return "" if status == 200 else f"chat: {status} {answer}"


def query(gateway: Gateway, thread: NetworkThread, wanted: Mapping[str, Any]) -> str:
    """Ask for the nearest to a known point; return what is wrong, empty if nothing is."""
    path = f"/vectordb/collections/{COLLECTION}/points/query"
    body = {"query": wanted["vector"], "limit": 1, "with_payload": True}
    status, said, _ = thread.do(lambda: gateway.ask("POST", path, body))
    if status != 200:
        return f"query: {status} {said}"
    hits = said["result"]["points"]
    return "" if hits and hits[0]["id"] == wanted["id"] else f"query found {hits}"


def table(results: list[dict[str, Any]], kinds: tuple[str, ...]) -> str:
    """Return the results as a table."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for each in results:
        key = each["operation"], each["fault"]
        counts[(*key, "points")] += 1
        counts[(*key, each["outcome"] if each["ok"] else "wrong")] += 1
    lines = [
        "| operation | fault | points | ended old | ended new | wrong |",
        "|---|---|---|---|---|---|",
    ]
    for operation in OPERATIONS:
        for kind in kinds:
            row = [counts[operation, kind, each] for each in ("points", "old", "new", "wrong")]
            if row[0]:
                lines.append(f"| {operation} | {kind} | " + " | ".join(map(str, row)) + " |")
    wrong = sum(not each["ok"] for each in results)
    good = len(results) - wrong
    lines.append(
        f"\n{len(results)} points: {good} in a declared good state after one plain re-run, "
        f"{wrong} not."
    )
    return "\n".join(lines)
