"""Checks of users and units that have our names."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.layout import HOST_CURRENT
from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses

CONDITION = Subject.CONDITION
NO_LOGIN = ("/nologin", "/false")
FIRST_PERSON = 1000  # user ids from here on are people's
ADMINISTRATORS = "/etc/systemd/system/"
CURRENT = f"{HOST_CURRENT}/units/"


@refuses(
    CONDITION,
    "BAS-5153",
    "users with our names are ours",
    "A user with the name of a service of ours is somebody else's: root's id, a person's, a login",
    "rename or remove that user (`userdel NAME`); Bastide makes its own",
)
def users(host: HostView) -> Iterator[Trouble]:
    """Look for users who are not as systemd-sysusers makes them."""
    for group in host.needs.groups:
        user = host.condition.users.get(f"bastide-{group}")
        if user is None:
            continue
        name = f"user bastide-{group}"
        if user.uid == 0 or user.gid == 0:
            yield Trouble(f"{name} has the id of root")
        elif user.uid >= FIRST_PERSON:
            yield Trouble(f"{name} has the id {user.uid} of a person, not of a service")
        if not user.shell.endswith(NO_LOGIN):
            yield Trouble(f"{name} can log in with {user.shell or 'the default shell'}")


@refuses(
    CONDITION,
    "BAS-5154",
    "groups with our names are ours",
    "A group with the name of a service of ours has members, or root's id",
    "rename that group or take its members out (`gpasswd -d USER GROUP`)",
)
def groups(host: HostView) -> Iterator[Trouble]:
    """Look for groups that somebody else uses."""
    for group in host.needs.groups:
        found = host.condition.groups.get(f"bastide-{group}")
        if found and found.members:
            yield Trouble(f"group bastide-{group} has the members {', '.join(found.members)}")
        if found and found.gid == 0:
            yield Trouble(f"group bastide-{group} has the id of root")


@refuses(
    CONDITION,
    "BAS-5155",
    "units with our names are ours",
    "A unit file with a name of ours is somebody else's, or hides ours",
    "move it away and `systemctl daemon-reload`; Bastide makes its own",
)
def unit_files(host: HostView) -> Iterator[Trouble]:
    """Look for unit files that are not links to the live generation."""
    for unit in host.condition.unit_files:
        if unit.target == "/dev/null":
            continue  # masked: said by another check
        name = unit.path.rsplit("/", 1)[-1]
        if unit.path != ADMINISTRATORS + name or unit.target != CURRENT + name:
            to = f" leads to {unit.target}" if unit.target else " is a file of its own"
            yield Trouble(f"{unit.path}{to}; ours leads to {CURRENT}{name}")


@refuses(
    CONDITION,
    "BAS-5156",
    "our units are not masked",
    "A unit of ours is masked on a host: it would not start",
    "`systemctl unmask UNIT`, if whoever masked it agrees",
)
def masked(host: HostView) -> Iterator[Trouble]:
    """Look for links to /dev/null."""
    for unit in host.condition.unit_files:
        if unit.target == "/dev/null":
            yield Trouble(f"{unit.path} leads to /dev/null: the unit is masked")


@refuses(
    CONDITION,
    "BAS-5157",
    "nothing changes our units from outside",
    "A drop-in changes a unit of ours on a host: what runs is not what the plan says",
    "move it away and `systemctl daemon-reload`; say in site.yaml what it was for",
)
def drop_ins(host: HostView) -> Iterator[Trouble]:
    """List drop-ins of our units."""
    if host.condition.drop_ins:
        yield Trouble(f"drop-ins: {', '.join(host.condition.drop_ins)}")


CHECKS = checks_in(globals())
