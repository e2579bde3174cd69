"""What this machine must have before a lab can be raised."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bastide.errors import Problem
from bastide.lab.errors import NOT_ROOT, TOOLS_MISSING, LabError

# program → the Debian package that brings it
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "unshare": "util-linux",
}
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = tuple(sorted({*PROGRAMS.values(), "debian-archive-keyring"} - {"util-linux"}))
INSTALL_LINE = f"apt-get install --yes --no-install-recommends {' '.join(PACKAGES)}"

# Tools of the system administrator may be missing from a service's PATH.
_SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def missing() -> tuple[str, ...]:
    """Return the Debian packages that this machine still lacks for a lab."""
    lacking = {
        package for name, package in PROGRAMS.items() if not shutil.which(name, path=_SEARCH)
    }
    if not DEBIAN_KEYRING.exists():
        lacking.add("debian-archive-keyring")
    return tuple(sorted(lacking))


def check_root() -> None:
    """Check that we may make namespaces and boot hosts.

    Raises:
        LabError: We are not root.
    """
    if os.geteuid() != 0:
        raise LabError(
            f"a lab makes network namespaces and boots systemd: it needs root, not user id "
            f"{os.geteuid()}",
            code=NOT_ROOT,
            hint="run the same command with sudo, or as root",
        )


def check() -> None:
    """Check that this machine can raise a lab; changes nothing.

    Raises:
        LabError: We are not root, or packages are missing (the hint installs them all).
    """
    check_root()
    lacking = missing()
    if lacking:
        raise LabError(
            f"this machine lacks what the lab is made with: {', '.join(lacking)}",
            code=TOOLS_MISSING,
            hint=f"apt-get update && {INSTALL_LINE}",
            problems=tuple(Problem(package, "Debian package not installed") for package in lacking),
        )
