"""A systemd timer on the control node that makes backups; the text of its units is pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from bastide.backup.codes import NO_SCHEDULE
from bastide.errors import ConfigError
from bastide.host import process
from bastide.host.files import write_atomic
from bastide.layout import SYSTEM_UNITS
from bastide.site.vault import PASSWORD_FILE_VARIABLE


@dataclass(frozen=True)
class Timer:
    """What a timer does.

    Args:
        site: The site's name.
        when: systemd's OnCalendar.
        argv: The command, with absolute paths.
        home: The control node's state.
        user: Who runs it.
        password: The file with the vault's password, if it is none of the home's.
    """

    site: str
    when: str
    argv: tuple[str, ...]
    home: Path
    user: str
    password: str = ""

    @property
    def name(self) -> str:
        """The units' name without its ending."""
        return f"bastide-backup-{self.site}"


def units_of(timer: Timer) -> dict[str, str]:
    """Return the text of service and timer by file name; pure."""
    command = " ".join(_quoted(word.replace("$", "$$")) for word in timer.argv)
    variables = [f"BASTIDE_HOME={timer.home}", "NO_COLOR=1"]
    variables += [f"{PASSWORD_FILE_VARIABLE}={timer.password}"] if timer.password else []
    environment = " ".join(_quoted(each) for each in variables)
    private = "no" if any(_is_temporary(each) for each in (str(timer.home), *timer.argv)) else "yes"
    service = f"""\
# Written by `bastide backup schedule`.
[Unit]
Description=Backup of the Bastide site {timer.site}
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
User={timer.user}
Environment={environment}
ExecStart={command}
Nice=10
IOSchedulingClass=idle
NoNewPrivileges=yes
PrivateTmp={private}
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
UMask=0077
"""
    when = f"""\
# Written by `bastide backup schedule`.
[Unit]
Description=When the Bastide site {timer.site} is backed up

[Timer]
OnCalendar={timer.when}
Persistent=yes
RandomizedDelaySec=300

[Install]
WantedBy=timers.target
"""
    return {f"{timer.name}.service": service, f"{timer.name}.timer": when}


def _is_temporary(path: str) -> bool:
    """Return whether a private /tmp would hide it from the service."""
    return any(Path(path).is_relative_to(place) for place in ("/tmp", "/var/tmp"))  # noqa: S108


def _quoted(word: str) -> str:
    """Return a word as a unit file takes it: specifiers are not expanded.

    Variables are looked for only in commands, where the caller doubles their ``$``.
    """
    safe = word.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{safe}"' if shlex.quote(word) != word else safe


def install(timer: Timer, folder: Path = SYSTEM_UNITS) -> tuple[Path, ...]:
    """Write the units, and start the timer if they lie where systemd looks; return the files.

    Raises:
        ConfigError: They cannot be written, or systemd refuses them.
    """
    written = []
    try:
        for name, text in units_of(timer).items():
            write_atomic(folder / name, text.encode())
            written.append(folder / name)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}",
            code=NO_SCHEDULE,
            hint="run as root, or write the units elsewhere with --units",
        ) from error
    if folder == SYSTEM_UNITS:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", f"{timer.name}.timer")
    return tuple(written)


def remove(site: str, folder: Path = SYSTEM_UNITS) -> tuple[Path, ...]:
    """Stop the timer of a site and remove its units; return the files that there were.

    Raises:
        ConfigError: systemd refuses.
    """
    name = f"bastide-backup-{site}"
    files = [folder / f"{name}.timer", folder / f"{name}.service"]
    present = tuple(path for path in files if path.exists())
    if present and folder == SYSTEM_UNITS:
        _systemctl("disable", "--now", f"{name}.timer")
    for path in present:
        path.unlink()
    if present and folder == SYSTEM_UNITS:
        _systemctl("daemon-reload")
    return present


def _systemctl(*words: str) -> None:
    try:
        process.run(["systemctl", *words], timeout=60)
    except process.ProcessError as error:
        raise ConfigError(
            f"systemd did not take the timer: {str(error).splitlines()[-1]}",
            code=NO_SCHEDULE,
            hint="a control node without systemd: call `bastide backup` by its own scheduler "
            "(--units writes the units to look at)",
        ) from error
