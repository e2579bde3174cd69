"""What can happen to an upgrade from outside: each fault is caused, and its cause removed."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from upgrade_site import DISKS, HOSTS, Site, kill_hard

KINDS = ("kill9", "power", "ssh", "disk", "service", "model")
LEFT_FREE = 100_000  # bytes on a full disk


@dataclass(frozen=True)
class Strike:
    """One fault at one moment.

    Args:
        site: Where.
        process: The installer.
        chance: What it draws from.
        targets: Host → number of the generation that the installer goes to.
    """

    site: Site
    process: subprocess.Popen[bytes]
    chance: random.Random
    targets: Mapping[str, int]

    def cause(self, kind: str) -> tuple[str, Callable[[], None]]:
        """Cause a fault; return what it was and what removes its cause."""
        causes: dict[str, Callable[[], tuple[str, Callable[[], None]]]] = {
            "kill9": self._kill,
            "power": self._power,
            "ssh": self._ssh,
            "disk": self._disk,
            "service": self._service,
            "model": self._model,
        }
        return causes[kind]()

    def _kill(self) -> tuple[str, Callable[[], None]]:
        everything = self.chance.random() < 0.5
        kill_hard(self.process, all_of_them=everything)
        return ("with all below it" if everything else "its process group"), lambda: None

    def _power(self) -> tuple[str, Callable[[], None]]:
        host = self.chance.choice(HOSTS)
        self.site.bastide("lab", "kill", "--host", host)
        time.sleep(self.chance.uniform(0, 8))
        self.site.bastide("lab", "up")  # it boots while the installer still looks for it
        return host, lambda: None

    def _ssh(self) -> tuple[str, Callable[[], None]]:
        host, seconds = self.chance.choice(HOSTS), self.chance.uniform(2, 40)
        link = ["ip", "-n", self.site.control, "link", "set", host]
        subprocess.run([*link, "down"], check=True)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.1)
        subprocess.run([*link, "up"], check=True)
        return f"{host} for {seconds:.0f} s", lambda: None

    def _disk(self) -> tuple[str, Callable[[], None]]:
        name = self.chance.choice(sorted(DISKS))
        filler = self.site.disk("host1") / name / ".filler"
        state = os.statvfs(filler.parent)
        with filler.open("wb") as stream:
            os.posix_fallocate(
                stream.fileno(), 0, max(state.f_bavail * state.f_frsize - LEFT_FREE, 4096)
            )
        return f"host1:/{name}", lambda: filler.unlink(missing_ok=True)

    def _service(self) -> tuple[str, Callable[[], None]]:
        host, always = self.chance.choice(HOSTS), self.chance.random() < 0.3
        units = ("llm", "embeddings") + (("vectordb",) if host == "host1" else ())
        unit = self.chance.choice(units)
        folder = f"/etc/systemd/system/bastide-{unit}.service.d"
        test = f'[ "$(readlink /opt/bastide/current)" != generations/{self.targets[host]} ]'
        line = "false" if always else test.replace('"', '\\"')
        text = f'[Service]\nExecStartPre=+/bin/sh -c "{line}"\n'
        write = f"mkdir -p {folder}; cat > {folder}/torture.conf; systemctl daemon-reload"
        self.site.on_host(host, write, text)

        def remove() -> None:
            self.site.on_host(host, f"rm -rf {folder}; systemctl daemon-reload")

        return f"{host} {unit} {'never starts' if always else 'fails in the new one'}", remove

    def _model(self) -> tuple[str, Callable[[], None]]:
        """Flip one bit of a model; nothing but the re-run can put it right."""
        host = self.chance.choice(HOSTS)
        disk = self.site.disk(host)
        links = (disk / f"opt/bastide/generations/{self.targets[host]}/models").glob("*.gguf")
        names = sorted(link.readlink().name for link in links)
        models = [disk / "var/lib/bastide/models" / name for name in names]
        if not models:  # the generation is not built yet: one that it may be built with
            models = sorted((disk / "var/lib/bastide/models").glob("*.gguf"))
        models = [path for path in models if path.exists()]
        if not models:
            return f"{host}: no model there yet", lambda: None
        path: Path = self.chance.choice(models)
        place = self.chance.randrange(path.stat().st_size)
        with path.open("r+b") as stream:
            stream.seek(place)
            byte = stream.read(1)[0]
            stream.seek(place)
            stream.write(bytes([byte ^ 1 << self.chance.randrange(8)]))
        return f"{host} {path.name[:12]} byte {place}", lambda: None
