"""Injects faults, one at a time, and sees whether preflight and apply refuse before a change.

    preflight_faults.py                   all faults; writes the table into docs/reliability.md
    preflight_faults.py --only WORD …     those whose kind holds a word; writes nothing

It needs a lab of its own (``$BASTIDE_LAB``, root) with two hosts, an imported ``starter`` bundle,
and ``bastide`` in the path. host1 is installed, host2 is not. Each fault is injected; preflight
must refuse it with the expected code; apply must refuse it too, and leave every file on the
host's disk as it was; once the fault is undone, preflight must be content.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight_kinds import FAULTS, MENDED, Fault

from bastide.cli.context import load_context
from bastide.schema.artifact import ArtifactKind

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- preflight faults -->", "<!-- end of preflight faults -->"
MOVING = re.compile(r"^(var/log/journal|run|proc|sys|dev)(/|$)")  # moves by itself
NOT_OURS = re.compile(r"^(var/log|var/lib/bastide/vectordb|run|tmp|proc|sys|dev)(/|$)")
HEALED_SECONDS = 60.0
RELEASE = "starter-2026.11.0"


@dataclass(frozen=True)
class Verdict:
    """What came of one fault."""

    fault: Fault
    codes: tuple[str, ...]
    refused: bool
    apply: str
    unchanged: bool
    healed: bool
    seconds: float

    @property
    def good(self) -> bool:
        return self.refused and self.unchanged and self.healed


class Bench:
    """A lab, its sites and the commands that an operator would type."""

    def __init__(self, folder: Path, release: str = RELEASE) -> None:
        self.folder = folder
        self.release = release
        self.lab = json.loads(self.shell("bastide lab status --json").stdout)["result"]
        self.root = Path(self.lab["folder"])

    def shell(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        prelude = 'on() { bastide lab exec --host "$HOST" -- bash -c "$1"; }\n'
        return subprocess.run(
            ["bash", "-c", f"set -e\n{prelude}{script}"],
            check=False,
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=600,
        )

    def must(self, script: str, **variables: str) -> str:
        done = self.shell(script, **variables)
        if done.returncode != 0:
            raise RuntimeError(f"$ {script}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def variables(self, fault: Fault) -> dict[str, str]:
        addresses = {host["name"]: host["address"] for host in self.lab["hosts"]}
        return {
            "HOST": fault.host,
            "DISK": str(self.disk(fault.host)),
            "BLOB": str(self.blob(self.site(fault))),
            "SITE": str(self.site(fault)),
            "ADDRESS": addresses[fault.host],
            "NETWORK": addresses[fault.host].rpartition(".")[0],
            "CONTROL": self.lab["control_namespace"],
            "NETNS": next(h["namespace"] for h in self.lab["hosts"] if h["name"] == fault.host),
            "KNOWN_HOSTS": self.lab["known_hosts"],
            "KEY": self.lab["ssh_private_key"],
            "WORK": str(self.folder),
        }

    def disk(self, host: str) -> Path:
        return self.root / "hosts" / host / "disk"

    def site(self, fault: Fault) -> Path:
        return self.folder / fault.site

    def blob(self, site: Path) -> Path:
        """Return where the store has the site's chat model."""
        context = load_context(site)
        models = context.bundle.manifest.of_kind(ArtifactKind.MODEL)
        (model,) = (each for each in models if each.name == context.site.models.llm)
        return context.store.blob(model.sha256)

    def asks(self, line: str, site: Path) -> tuple[int, dict[str, Any]]:
        done = self.shell(f"bastide lab exec -- bastide {line} --site {site} --json")
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            answer = {
                "result": None,
                "error": {"code": "?", "problems": [], "message": done.stderr},
            }
        return done.returncode, answer

    def prepare(self, *, install: bool) -> None:
        """Make the sites; install on host1 if asked to."""
        for host, site in (("host1", "installed"), ("host2", "fresh")):
            if not (self.folder / site).exists():
                self.must(self.init(site, f"--host {host}=$(address {host})"))
        if not (self.folder / "two").exists():
            groups = ("host1", "vectordb,gateway"), ("host2", "llm,embeddings")
            self.must(
                self.init("two", " ".join(f"--host {h}=$(address {h}):{g}" for h, g in groups))
            )
        if not install:
            return
        code, answer = self.asks("apply --replan --yes", self.folder / "installed")
        if code:
            raise RuntimeError(f"the installation failed: {answer['error']}")

    def init(self, site: str, hosts: str) -> str:
        addresses = "\n".join(f"{h['name']}) echo {h['address']};;" for h in self.lab["hosts"])
        return (
            f"address() {{ case $1 in\n{addresses}\nesac; }}\n"
            f"bastide init {site} {hosts} --release {self.release} "
            f"--control-address {self.lab['control_address']} "
            f"--ssh-key {self.lab['ssh_private_key']} --known-hosts {self.lab['known_hosts']}"
        )

    def listing(self, host: str, but: re.Pattern[str] = NOT_OURS) -> dict[str, tuple[int, ...]]:
        """Return every file of a host's disk: size, owner, mode, times of change."""
        disk = self.disk(host)
        found: dict[str, tuple[int, ...]] = {}
        for folder, folders, files in os.walk(disk):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                inside = os.path.relpath(path, disk)
                if not but.match(inside):
                    state = os.lstat(path)
                    times = state.st_mtime_ns, state.st_ctime_ns
                    found[inside] = (state.st_size, state.st_uid, state.st_mode, *times)
        return found


def codes_of(answer: dict[str, Any]) -> tuple[str, ...]:
    """Return the codes of everything that was refused."""
    error = answer["error"]
    if error is None:
        return ()
    found = {problem["code"] for problem in error["problems"]} - {""}
    return tuple(sorted(found | {error["code"]} - {"BAS-5001"}))


def judge(bench: Bench, fault: Fault) -> Verdict:
    """Inject a fault, see what is refused, undo it."""
    variables, site = bench.variables(fault), bench.site(fault)
    try:
        bench.must(fault.inject, **variables)
        started = time.monotonic()
        exit_code, answer = bench.asks(fault.asks, site)
        seconds = time.monotonic() - started
        codes = codes_of(answer)
        refused = fault.code in codes and exit_code == fault.exit_code
        applied, unchanged = "", True
        if refused:
            before = bench.listing(fault.host)
            apply_code, tried = bench.asks(fault.apply, site)
            applied = f"{'+'.join(codes_of(tried)) or 'done'} (exit {apply_code})"
            unchanged = apply_code in fault.apply_exits and bench.listing(fault.host) == before
    finally:
        undone = bench.shell(fault.undo, **variables)
        if undone.returncode:
            print(f"undo of {fault.kind}: {undone.stdout}{undone.stderr}", file=sys.stderr)
    return Verdict(fault, codes, refused, applied, unchanged, heal(bench, site), seconds)


def heal(bench: Bench, site: Path) -> bool:
    """Wait until preflight is content again; a host that was down has to boot."""
    deadline = time.monotonic() + HEALED_SECONDS
    while bench.asks("preflight", site)[0] != 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def mend(bench: Bench, fault: Fault) -> Verdict:
    """Inject something that apply mends: preflight lets it pass, apply puts it right."""
    variables, site = bench.variables(fault), bench.site(fault)
    bench.must(fault.inject, **variables)
    started = time.monotonic()
    exit_code, answer = bench.asks("preflight", site)
    seconds = time.monotonic() - started
    applied, _ = bench.asks("apply --replan --yes", site)
    _, plan = bench.asks("plan", site)
    whole = applied == 0 and plan["error"] is None and plan["result"]["changes"] == 0
    warned = [
        c["code"] for c in (answer["result"] or {"checks": []})["checks"] if c["result"] == "warned"
    ]
    said = tuple(code for code in warned if code != "BAS-5128")
    return Verdict(
        fault, said, exit_code == 0, f"exit {applied}", whole, heal(bench, site), seconds
    )


def tables(verdicts: list[Verdict], mended: list[Verdict]) -> str:
    """Return the Markdown of all verdicts."""
    refused = sum(each.good for each in verdicts)
    share = 100 * refused / max(len(verdicts), 1)
    slowest = max(each.seconds for each in verdicts)
    summary = (
        f"**{refused} of {len(verdicts)} kinds of faults ({share:.0f} %) were refused before the "
        "first change**, each with the code expected; apply left every file on the host's disk as "
        f"it was. The slowest answer took {slowest:.1f} s."
    )
    head = ("| fault | code | refused | apply | s |", "|---|---|---|---|---|")
    lines = [summary, "", *head]
    lines += [
        f"| {each.fault.kind} | {each.fault.code} | {'yes' if each.good else '**no**'} "
        f"| {each.apply or 'not tried'} | {each.seconds:.1f} |"
        for each in verdicts
    ]
    lines += [
        "",
        "What apply mends by itself is not refused:",
        "",
        "| fault | warned | apply | whole afterwards |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {each.fault.kind} | {', '.join(each.codes) or 'in the plan, as drift'} | {each.apply} "
        f"| {'yes' if each.unchanged and each.healed else '**no**'} |"
        for each in mended
    ]
    return "\n".join(lines)


def write_page(text: str) -> None:
    """Put the tables between their marks in docs/reliability.md."""
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="kinds that hold one of these words")
    parser.add_argument("--folder", type=Path, help="for the sites; kept if given")
    parser.add_argument("--release", default=RELEASE, help="an imported one that passes its gates")
    options = parser.parse_args()
    chosen = [f for f in FAULTS if not options.only or any(w in f.kind for w in options.only)]
    folder = options.folder or Path(tempfile.mkdtemp(prefix="preflight-faults-"))
    folder.mkdir(exist_ok=True)
    bench = Bench(folder, options.release)
    bench.prepare(install=any(each.site == "installed" for each in chosen))
    verdicts = []
    for fault in chosen:
        try:
            verdict = judge(bench, fault)
        except RuntimeError as error:
            print(f"{fault.kind}: could not be injected or undone: {error}", file=sys.stderr)
            verdict = Verdict(fault, (), False, "not tried", False, False, 0.0)
        verdicts.append(verdict)
        word = "refused" if verdict.good else f"NOT AS EXPECTED {verdict}"
        print(f"{fault.kind:<60} {fault.code} {word} {verdict.seconds:.1f} s", file=sys.stderr)
    mended = [mend(bench, fault) for fault in ([] if options.only else MENDED)]
    text = tables(verdicts, mended)
    print(text)
    if not options.only:
        write_page(text)
    good = sum(each.good for each in verdicts) >= 0.95 * len(verdicts)
    return 0 if good and all(each.unchanged and each.healed for each in mended) else 1


if __name__ == "__main__":
    sys.exit(main())
