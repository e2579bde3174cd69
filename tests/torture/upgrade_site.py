"""A site of two lab hosts with two releases, and what can be asked of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upgrade_data import Gateway
from upgrade_judge import LOOK

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ("host1", "host2")
OLD, NEW = "starter-2026.11.0", "starter-2026.12.0"
TARGET = "debian12-x86_64"
COMMAND_SECONDS = 600.0
DISKS = {"opt/bastide": 1600, "var/lib/bastide": 1600}  # MB; file systems of their own on host1


@dataclass(frozen=True)
class Site:
    """The lab, the control node's home and the site's folder, below one work folder.

    Args:
        work: The folder.
        lab: The lab's name.
        settings: Old and new are one release with other settings, instead of two releases, and
            no disk is small enough to be filled.
    """

    work: Path
    lab: str
    settings: bool = False

    @property
    def folder(self) -> Path:
        """The folder of ``site.yaml``."""
        return self.work / "site"

    @property
    def env(self) -> dict[str, str]:
        """The environment of every command."""
        programs = str(Path(sys.executable).parent)
        path = os.pathsep.join((programs, os.environ["PATH"]))
        own = {"BASTIDE_HOME": str(self.work / "home"), "BASTIDE_LAB": self.lab, "PATH": path}
        return {**os.environ, **own}

    def disk(self, host: str) -> Path:
        """Where a host's disk lies on this machine."""
        return self.work / "home/lab" / self.lab / "hosts" / host / "disk"

    @property
    def control(self) -> str:
        """The control node's network namespace."""
        return f"bastide-{self.lab}-control"

    # --- commands ----------------------------------------------------------------------------
    def bastide(
        self, *arguments: str, inside: bool = False, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run ``bastide``, here or on the control node; return what it said."""
        done = subprocess.run(
            self.argv(*arguments, inside=inside), cwd=self.work, env=self.env, check=False,
            capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"bastide {shlex.join(arguments)}:\n{done.stdout}\n{done.stderr}")
        return done

    def argv(self, *arguments: str, inside: bool = False) -> list[str]:
        """Return the argument list of a ``bastide`` command."""
        inner = [str(Path(sys.executable).with_name("bastide")), *arguments]
        return ["ip", "netns", "exec", self.control, *inner] if inside else inner

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a ``bastide`` command on the control node in a session of its own."""
        with log.open("ab") as stream:
            return subprocess.Popen(
                self.argv(*arguments, inside=True), cwd=self.work, env=self.env,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip

    def on_host(self, host: str, command: str, stdin: str = "", seconds: float = 120) -> str:
        """Run a shell command on a host; return what it printed."""
        config = self.work / "home/lab" / self.lab / "ssh_config"
        argv = ["ip", "netns", "exec", self.control, "ssh", "-F", str(config), host, "--", command]
        done = subprocess.run(
            argv, input=stdin, check=False, capture_output=True, text=True, timeout=seconds
        )
        if done.returncode != 0:
            raise RuntimeError(f"{host}: {command[:80]}: {done.stdout[-500:]} {done.stderr[-500:]}")
        return done.stdout

    def look(self, host: str) -> dict[str, Any]:
        """Return everything about a host that a point is judged by."""
        found: dict[str, Any] = json.loads(self.on_host(host, "python3 -", LOOK))
        return found

    # --- wishes ------------------------------------------------------------------------------
    def want(self, release: str) -> None:
        """Let ``site.yaml`` ask for the old or the new one."""
        path, new = self.folder / "site.yaml", release == NEW
        lines = {"max_request_megabytes": str(32 + new), "context_tokens": str(2048 - new)}
        if not self.settings:
            model = "smollm2-135m-instruct-q4_1" + ("-t2" if new else "")
            lines = {"release": release, "llm": model}
        text = path.read_text()
        for key, value in lines.items():
            text = re.sub(rf"(?m)^( *{key}:) [^\s#].*", rf"\1 {value}", text)
        path.write_text(text)

    def wipe(self) -> None:
        """Make both hosts empty again; OS packages stay."""
        stop = "systemctl stop 'bastide-*.service'; systemctl reset-failed 'bastide-*' || true; "
        stop += "rm -rf /etc/systemd/system/bastide-* /etc/systemd/system/*/bastide-* /run/bastide "
        stop += "/etc/bastide; find /opt/bastide /var/lib/bastide -mindepth 1 -delete; "
        stop += "systemctl daemon-reload"
        for host in HOSTS:
            self.on_host(host, f"mkdir -p /opt/bastide /var/lib/bastide; {stop}")
        shutil.rmtree(self.folder / "runs", ignore_errors=True)

    def gateway(self) -> Gateway:
        """Return where the gateway is."""
        key = json.loads(
            self.bastide("keys", "show", "--site", "site", "--json", inside=True).stdout
        )["result"]["key"]
        address = re.findall(r"(?m)^    address: (\S+)", (self.folder / "site.yaml").read_text())[0]
        return Gateway(address, self.folder / "ca.pem", key)

    def newest_run(self) -> str:
        """Return the name of the newest run's folder, or nothing."""
        return max((path.name for path in (self.folder / "runs").glob("*")), default="")

    def phase(self, before: str = "") -> str:
        """Return the phase that the newest run's journal was left in.

        Args:
            before: A run that does not count any more.
        """
        run, last = self.newest_run(), ""
        journal = self.folder / "runs" / run / "journal.jsonl"
        if run == before or not journal.exists():
            return "preflight"  # a run's folder is made after it
        for line in journal.read_text().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("entry") == "intent":
                    last = str(entry.get("phase", ""))
        return last.partition(":")[0]


# --- set-up ----------------------------------------------------------------------------------
def catalogue(target: Path) -> None:
    """Copy the catalogue; its two releases keep no gate but health, which is always looked at."""
    shutil.copytree(ROOT / "models_manifest", target, dirs_exist_ok=True)
    for name in (OLD, NEW):
        path = target / "releases" / f"{name}.yaml"
        text = re.sub(r"(?m)^  gates: .*", "  gates: [health]", path.read_text())
        text = re.sub(r"(?ms)^  evaluation:\n.*?(?=^  \S)", "", text)
        path.write_text(text)


def make_bundles(site: Site) -> None:
    """Build and sign both releases from the test catalogue, unless they are there."""
    catalogue(site.work / "catalogue")
    if not (site.work / "home/publisher").is_dir():
        site.bastide("trust", "init", "--development")
    names = (OLD,) if site.settings else (OLD, NEW)
    for name in names:
        if not (site.work / name / "bundle.json").exists():
            site.bastide("bundle", "build", "--catalogue", "catalogue", "--release", name,
                         "--target", TARGET, "--out", name)  # fmt: skip
    words = site.bastide("trust", "fingerprint", "--plain").stdout.strip()
    site.bastide("trust", "pin", OLD, "--fingerprint", words)
    for name in names:
        site.bastide("import", name)


def small_disks(site: Site) -> None:
    """Give host1 file systems of their own for what Bastide writes, so that they can be full."""
    disk = site.disk("host1")
    for name, megabytes in DISKS.items():
        image = site.work / f"{name.replace('/', '-')}.ext4"
        if not image.exists():
            with image.open("wb") as stream:
                stream.truncate(megabytes << 20)
            subprocess.run(["mkfs.ext4", "-q", "-m0", str(image)], check=True)
        place = disk / name
        place.mkdir(parents=True, exist_ok=True)
        if not place.is_mount():
            subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
            (place / "lost+found").rmdir() if (place / "lost+found").is_dir() else None


def raise_lab(site: Site) -> None:
    """Boot both hosts, host1 with its small disks; what runs already stays."""
    site.bastide("lab", "up", "--hosts", "2")
    if not site.settings and not all((site.disk("host1") / name).is_mount() for name in DISKS):
        site.bastide("lab", "kill", "--host", "host1")
        small_disks(site)
        site.bastide("lab", "up")


def set_up(site: Site) -> None:
    """Make bundles, lab and site; what is there already stays."""
    site.work.mkdir(parents=True, exist_ok=True)
    if not (site.work / "imported").exists():
        make_bundles(site)
        (site.work / "imported").touch()
    raise_lab(site)
    if not (site.folder / "site.yaml").exists():
        site.bastide("init", "site", "--lab", "--release", OLD)
        path = site.folder / "site.yaml"
        text = path.read_text().replace("drain_seconds: 300", "drain_seconds: 10")
        path.write_text(text.replace("    parallel: 8", "    parallel: 2"))


def tear_down(site: Site) -> None:
    """Remove the lab and its disks; bundles and results stay."""
    mounts = [name for name in DISKS if (site.disk("host1") / name).is_mount()]
    if mounts:
        site.bastide("lab", "kill", "--host", "host1", check=False)
    for name in mounts:
        subprocess.run(["umount", str(site.disk("host1") / name)], check=False)
    site.bastide("lab", "down", check=False)


# --- processes -------------------------------------------------------------------------------
def descendants(pid: int) -> list[int]:
    """Return the ids of the processes below one, itself first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def kill_hard(process: subprocess.Popen[bytes], *, all_of_them: bool) -> None:
    """Kill -9 an installer's process group, and if asked for all that it has started."""
    doomed = descendants(process.pid) if all_of_them else []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(30)


@contextlib.contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measure a block: seconds are under ``seconds`` after it."""
    took: dict[str, float] = {}
    started = time.monotonic()
    try:
        yield took
    finally:
        took["seconds"] = round(time.monotonic() - started, 1)


@dataclass
class Known:
    """What the generations of each release are, from undisturbed runs.

    Args:
        digests: Release → host → the content digest of its generation.
        seconds: Operation → how long it takes.
    """

    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
