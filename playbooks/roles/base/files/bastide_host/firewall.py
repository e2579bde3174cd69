"""The host's packet filter: loaded in one transaction, taken back unless a new login gets through.

The rules lie in the generation and are loaded by ``bastide-firewall.service``. A mistake in them
must not shut the control node out: before they are loaded, the address that this very login comes
from has to be among those that may log in; after it, a timer brings the rules from before back
unless ``keep`` is called over a *new* connection. docs/isolation.md
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path

from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    read_json,
    run,
    tail,
    text_of,
    write_atomic,
)

UNIT = "bastide-firewall.service"
FILE = "etc/nftables.nft"
TABLE = ("table", "inet", "bastide")
# Not a name like those of the units that stay: preflight looks for strangers among them, and a run
# that was killed leaves this one behind.
UNDO = "firewall-undo-bastide"
UNDO_SECONDS = 45
# Settings of each network interface that the unit changes, and gives back when it stops.
REDIRECTS = ("ipv4/conf/*/accept_redirects", "ipv4/conf/*/send_redirects",
             "ipv6/conf/*/accept_redirects")  # fmt: skip
SHUT_OUT = "BAS-2100"
NOT_NEW = "BAS-2101"
_NFT = "/usr/sbin/nft"
_EMPTY = "table inet bastide\ndelete table inet bastide\n"


def rules(generation: Path) -> list[str]:
    """Return the rules of a generation for people, as its file has them behind ``#``."""
    text = text_of(generation / FILE)
    return re.findall(r"^\s+[^#\s].* accept # (.+)$", text, re.MULTILINE)


def live_table(paths: Paths) -> str:
    """Return the rules that the kernel has now, without counts; empty if there are none."""
    done = run([_NFT, "--stateless", "list", *TABLE], timeout=20)
    return done.stdout if done.returncode == 0 and paths else ""


def wanted_table(file: Path) -> str:
    """Return how the kernel lists a file's rules, from a network name space of their own.

    Empty if that cannot be found out.
    """
    script = f'{_NFT} -f "$1" && exec {_NFT} --stateless list {" ".join(TABLE)}'
    done = run(["unshare", "--net", "sh", "-c", script, "sh", str(file)], timeout=20)
    return done.stdout if done.returncode == 0 else ""


def state(paths: Paths, generation: Path | None = None) -> str:
    """Return ``off`` (the generation has no rules), ``missing``, ``changed`` or ``live``."""
    file = (generation or paths.current) / FILE
    if not file.exists():
        return "off"
    live = live_table(paths)
    if not live:
        return "missing"
    wanted = wanted_table(file)
    return "live" if wanted in ("", live) else "changed"


def firewall_facts(paths: Paths) -> JsonObject | None:
    """Return what the host's packet filter is now; None if the generation has none."""
    found = state(paths)
    if found == "off":
        return None
    return {"state": found, "rules": rules(paths.current) if found != "missing" else []}


def connection(process: int | None = None) -> str:
    """Return the SSH connection that this program was started over, as sshd words it.

    Client's address and port, own address and port, with blanks between; empty if there is none.
    sudo takes the variable away, so the program's ancestors are asked.
    """
    here = process or os.getpid()
    while here > 1:
        for entry in text_of(Path(f"/proc/{here}/environ")).split("\0"):
            if entry.startswith("SSH_CONNECTION="):
                return entry.partition("=")[2]
        status = re.search(r"^PPid:\s+(\d+)", text_of(Path(f"/proc/{here}/status")), re.MULTILINE)
        here = int(status.group(1)) if status else 0
    return ""


def check_firewall(generation: Path, login: str | None = None) -> None:
    """Check a generation's rules before anything is switched to it.

    Args:
        generation: Its folder.
        login: The SSH connection to look at; this program's own if None.

    Raises:
        AgentError: nft refuses them, or they would shut out whoever runs this.
    """
    done = run([_NFT, "--check", "-f", str(generation / FILE)], timeout=30)
    if done.returncode != 0:
        raise AgentError(
            "BAS-6059",
            f"{generation / FILE} is refused by its own program:\n{tail(done)}",
            "nothing was switched; report this: the rules are rendered by the release",
        )
    allowed = (read_json(generation / "etc/host.json") or {}).get("firewall") or {}
    parts = (connection() if login is None else login).split()
    if len(parts) != 4 or not allowed:
        return
    address = ipaddress.ip_address(parts[0].partition("%")[0])
    known = any(address in ipaddress.ip_network(each) for each in allowed["ssh"])
    if not known or int(parts[3]) != allowed["port"]:
        wanted = ", ".join(allowed["ssh"])
        raise AgentError(
            SHUT_OUT,
            f"the packet filter would shut the control node out: this login comes from {address} to"
            f" port {parts[3]}, and logins may come from {wanted} to port {allowed['port']}",
            "nothing was switched; correct network.control_address, or add the address that hosts"
            " see (of a jump host, of address translation) to isolation.ssh in site.yaml",
        )


def load(paths: Paths) -> JsonObject:
    """Load the live generation's rules; a timer takes them back unless ``keep`` is called.

    Raises:
        AgentError: They cannot be loaded; those from before are in force.
    """
    remember_redirects(paths)
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = paths.run / "firewall-before.nft"
    write_atomic(before, f"{_EMPTY}{live_table(paths)}".encode(), 0o600)
    write_atomic(paths.run / "firewall-login", connection().encode(), 0o600)
    # Cut off before ``keep``, the next run has to load them again: else the timer took them back.
    (paths.started / UNIT).unlink(missing_ok=True)
    _arm(paths, before)
    done = run(["systemctl", "reload-or-restart", UNIT], timeout=60)
    if done.returncode != 0:
        _disarm()
        words = run(["journalctl", f"--unit={UNIT}", "--lines=20", "--no-pager", "-o", "cat"])
        raise AgentError(
            "BAS-6060", f"{UNIT} did not start; its last journal lines:\n{words.stdout.strip()}",
            "the cause is usually in these lines; bastide apply can be repeated",
        )  # fmt: skip
    return {"changed": True, "rules": len(rules(paths.current))}


def remember_redirects(paths: Paths) -> None:
    """Note what the host does with ICMP redirects, unless that is the unit's own doing.

    In the form of sysctl.d(5): the unit gives it back when it stops. An interface that is gone by
    then is passed over.
    """
    place = paths.state / "redirects-before.conf"
    active = run(["systemctl", "is-active", "--quiet", UNIT], timeout=20).returncode == 0
    if active and place.exists():
        return
    net = paths.at("/proc/sys/net")
    found = sorted(path for pattern in REDIRECTS for path in net.glob(pattern))
    lines = [f"-net/{path.relative_to(net)} = {text_of(path).strip()}\n" for path in found]
    write_atomic(place, "".join(lines).encode())


def keep(paths: Paths, mark: bytes) -> JsonObject:
    """Keep the rules that were loaded: a new login got through.

    Args:
        paths: The host's paths.
        mark: What ``started`` says of a unit that runs with its present inputs.

    Raises:
        AgentError: This is the same connection as then, which proves nothing.
    """
    before, now = text_of(paths.run / "firewall-login"), connection()
    if before and before == now:
        raise AgentError(
            NOT_NEW,
            "whether a new login gets through the packet filter was not tried: this one is older",
            f"within {UNDO_SECONDS} s the rules from before come back; then apply again",
        )
    _disarm()
    write_atomic(paths.started / UNIT, mark)
    for name in ("firewall-before.nft", "firewall-login"):
        (paths.run / name).unlink(missing_ok=True)
    return {"changed": True}


def _arm(paths: Paths, before: Path) -> None:
    """Have systemd bring the rules from before back, whatever becomes of this program."""
    _disarm()
    undo = f'{_NFT} -f "{before}"; rm -f "{paths.started / UNIT}"'
    argv = ["systemd-run", "--quiet", "--collect", f"--unit={UNDO}"]
    argv += [
        f"--on-active={UNDO_SECONDS}",
        "--timer-property=AccuracySec=1s",
        "/bin/sh",
        "-c",
        undo,
    ]
    done = run(argv, timeout=30)
    if done.returncode != 0:
        raise AgentError("BAS-6060", f"no timer guards the packet filter's change:\n{tail(done)}")


def _disarm() -> None:
    run(["systemctl", "stop", f"{UNDO}.timer"], timeout=30)


def describe(paths: Paths) -> JsonObject:
    """Return the packet filter's state and what it has refused, by chain."""
    done = run([_NFT, "--json", "list", "counters", *TABLE], timeout=20)
    try:
        listed = json.loads(done.stdout or "{}").get("nftables", [])
    except ValueError:
        listed = []
    counts = {c["name"]: c["packets"] for each in listed if (c := each.get("counter"))}
    return {"changed": False, "firewall": firewall_facts(paths), "refused": counts}
