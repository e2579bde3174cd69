"""What went wrong → what to do. Pure: words in, words out."""

from __future__ import annotations

import re

from bastide.run.events import Status
from bastide.run.state import Failure

# First match wins. Each pattern is of words that ssh, systemd, apt, Python or the host agent say.
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"host key verification failed|identification has changed|no .*host key is known",
        (
            "the host's SSH key is not the one in ssh.known_hosts: check on the host's own console"
            " with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` before you change that file"
        ),
    ),
    (
        r"permission denied",
        (
            "the host refused the key: put the public half of ssh.private_key into the user's"
            " ~/.ssh/authorized_keys on the host"
        ),
    ),
    (
        r"no route to host|connection timed out|connection refused|network is unreachable",
        (
            "check that the host is up, that its address in site.yaml is right and that sshd"
            " listens on ssh.port"
        ),
    ),
    (
        r"no space left on device|disk quota exceeded",
        "free some room on the host's disk, then run `bastide apply` again: it goes on from here",
    ),
    (
        r"certificate verify failed|certificate has expired|certificate is not yet valid",
        "compare the clocks: `date` on the host and on this machine must agree to the day",
    ),
    (
        r"\b401\b|unauthorized",
        "the host was refused by the depot: run `bastide apply` again for a new token",
    ),
    (
        r"digest mismatch|sha-?256 (differs|mismatch)|wrong digest",
        (
            "the artifact was damaged on its way or in the store: run `bastide import` again with"
            " the bundle, then `bastide apply`"
        ),
    ),
    (
        r"address already in use|port \d+ is taken",
        (
            "another program holds the port: `ss -ltnp` on the host names it; stop it or change the"
            " port in site.yaml"
        ),
    ),
    (
        r"dpkg was interrupted|could not get lock /var/lib/(dpkg|apt)|unmet dependencies",
        "repair the host's package system first: `dpkg --configure -a`, `apt-get -f install`",
    ),
    (
        r"out of memory|cannot allocate memory|oom-kill|code=killed, status=9",
        (
            "the host has too little memory: choose a smaller model, or lower"
            " sizes.llm.context_tokens and sizes.llm.parallel in site.yaml"
        ),
    ),
    (
        r"illegal instruction|status=4/ILL|signal=ILL",
        "the host's CPU lacks instructions that the engine needs: it must be x86-64 with SSE4.2",
    ),
    (
        r"a terminal is required|a password is required|sudo:",
        "let ssh.user run sudo without a password, or set ssh.user to root",
    ),
    (
        r"read-only file system",
        "/opt, /etc and /var/lib must be writable on the host",
    ),
)

_UNREACHABLE = (
    "check that the host is up and that `ssh` to it works, then run `bastide apply` again"
)
_DEFAULT = "correct what the message names, then run `bastide apply` again: it goes on from here"


def advise(failure: Failure) -> str:
    """Return what the operator should do about ``failure``.

    The host agent's own hint comes first, because it knows best.
    """
    if failure.hint:
        return failure.hint
    for pattern, hint in _KNOWN:
        if re.search(pattern, failure.message, re.IGNORECASE):
            return hint
    return _UNREACHABLE if failure.kind is Status.UNREACHABLE else _DEFAULT
