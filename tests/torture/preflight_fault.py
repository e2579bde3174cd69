# ruff: noqa: E501 - a script broken into lines would read worse
"""What a fault of ``preflight_faults.py`` is: how it is injected and undone, in shell.

The scripts run on the machine that has the lab. ``on '…'`` runs a command on the fault's host; $DISK
is that host's root folder seen from outside, $NETNS its network namespace, $SITE the site's folder,
$CONTROL the control node's network namespace.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Args:
        kind: What it is, for the table.
        code: With what it should be refused.
        inject: Script that makes it.
        undo: Script that takes it away.
        site: ``installed`` (host1), ``fresh`` (host2) or ``two``.
        host: Whose disk must not change.
        asks: The command that should refuse it.
        exit_code: With which exit code.
        apply: The apply that is tried then.
        apply_exits: With which exit codes it may refuse: all say that nothing was changed.
    """

    kind: str
    code: str
    inject: str
    undo: str
    site: str = "fresh"
    host: str = "host2"
    asks: str = "preflight"
    exit_code: int = 5
    apply: str = "apply --replan --yes"
    apply_exits: tuple[int, ...] = (5,)


def installed(kind: str, code: str, inject: str, undo: str) -> Fault:
    """Return a fault of the host that has been installed."""
    return Fault(kind, code, inject, undo, site="installed", host="host1")


def edited(kind: str, code: str, expression: str, site: str = "fresh", **more: object) -> Fault:
    """Return a fault that is a mistake in site.yaml, as a sed expression."""
    inject = f"cp $SITE/site.yaml $WORK/kept.yaml; sed -i {expression} $SITE/site.yaml"
    inject += "; ! cmp -s $SITE/site.yaml $WORK/kept.yaml"
    undo = "mv $WORK/kept.yaml $SITE/site.yaml"
    return Fault(kind, code, inject, undo, site=site, **more)  # type: ignore[arg-type]


def locker(path: str, how: str) -> str:
    """Return a script that holds a lock on the host until the unit ``locker`` is stopped."""
    return (
        "cat > $DISK/root/hold.py <<'P'\n"
        f"import fcntl, time\nf = open('{path}', 'a')\nfcntl.{how}(f, fcntl.LOCK_EX)\ntime.sleep(600)\nP\n"
        "on 'systemd-run -q --unit locker python3 /root/hold.py'; sleep 1"
    )


UNLOCK = "on 'systemctl stop locker; rm /root/hold.py'"
