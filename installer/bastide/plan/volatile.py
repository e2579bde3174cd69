"""What changes on a running host whatever Bastide does: one list, each line with its reason."""

from __future__ import annotations

import re

_PATHS = (
    (r"/var/log/journal(/.*)?", "the journal: every service writes to it all the time"),
    (r"/var/log/(wtmp|btmp|lastlog|faillog)", "logins, ours over SSH among them"),
    (r"/var/lib/systemd/(random-seed|linger(/.*)?)", "systemd's own state"),
    (r"/var/lib/systemd/timers(/.*)?", "when each timer last ran"),
    (r"/var/lib/systemd/timesync(/.*)?", "the clock's last good value"),
    (r"/var/lib/(NetworkManager|dhcp)(/.*)?", "network leases"),
    (r"/var/lib/(logrotate|private|dbus)(/.*)?", "state of the system's own services"),
    (r"/var/tmp/systemd-private-[^/]+(/.*)?", "each service's private /tmp; gone when it stops"),  # noqa: S108
    (r"/var/lib/bastide/vectordb/.*", "the vector DB's data: its clients write there"),
    (r"/var/lib/bastide/texts/.*", "prompts and answers, if they are recorded"),
    (r"/var/lib/bastide/(prometheus|alertmanager|metrics)/.*", "monitoring writes all the time"),
    (r"/var/lib/bastide/notes(/.*)?", "when somebody verified or backed up last"),
    (r"/root/(\.bash_history|\.cache(/.*)?)", "somebody at the keyboard"),
)
_UNITS = (
    (r"(user@|user-runtime-dir@).+\.service", "comes and goes with a login, ours over SSH too"),
    (r"run-.+\.mount", "a service's credentials, or a login's runtime folder"),
    (r"(apt-daily|dpkg-db-backup|e2scrub|fstrim|logrotate|man-db|systemd-tmpfiles).*",
     "a timer of the distribution"),
    (r"systemd-journald(-varlink)?@bastide\.(service|socket)",
     "the journal of our services: comes with the first that logs, goes when idle"),
    (r"systemd-(hostnamed|timedated|localed)\.service", "starts when asked, ends when idle"),
    (r"ssh@.+\.service", "one connection to an SSH server that starts by socket"),
)  # fmt: skip


def volatile_path(path: str) -> bool:
    """Return whether a path changes on its own."""
    return any(re.fullmatch(pattern, path) for pattern, _ in _PATHS)


def volatile_unit(name: str) -> bool:
    """Return whether a unit starts and stops on its own."""
    return any(re.fullmatch(pattern, name) for pattern, _ in _UNITS)
