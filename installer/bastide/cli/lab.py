"""``bastide lab``: disposable, air-gapped systemd hosts to rehearse on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from bastide import layout
from bastide.cli import output
from bastide.errors import BastideError
from bastide.lab import manager, requirements
from bastide.lab import state as states
from bastide.lab.spec import DEFAULT_NAME, DEFAULT_RELEASE, MAX_HOSTS, RELEASES, LabSpec
from bastide.lab.state import LabState


def _name_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--name",
        default=DEFAULT_NAME,
        show_default=True,
        envvar="BASTIDE_LAB",
        show_envvar=True,
        help="Which lab; several live side by side and never see each other.",
    )(function)


@click.group()
def command() -> None:
    """Rehearse on disposable, air-gapped systemd hosts.

    A lab is one to forty minimal Debian servers on this machine, each with a systemd, a disk and
    an address of its own, and a control node's network to reach them from. No route leaves it:
    what installs here installs behind an air gap. Needs root and Debian's own packages
    (`bastide lab requirements`).

    \b
      bastide lab up --hosts 2                   raise it; again: repair it
      bastide lab exec -- bastide apply          run a command on the control node
      bastide lab exec --host host1 -- ss -tlnp  run a command on a host
      bastide lab kill --host host1              cut a host's power; `up` boots it again
      bastide lab down                           remove it
    """  # noqa: D301 - click wants the control character


def _view_state(state: LabState) -> None:
    console = output.stdout()
    console.print(f"Lab {state.name}: Debian {state.release}, no route out", markup=False)
    console.print(f"  {'control':<8} {state.control_address:<15} this machine, in its own network")
    if state.cpus:
        console.print(f"  each host has {state.cpus:g} CPUs at most")
    for host in state.hosts:
        word = "[green]up[/]" if host.alive else "[red]down[/]"
        console.print(f"  {host.name:<8} {host.address:<15} {word}  console: {host.console}")
    console.print(f"  SSH key {state.ssh_private_key}, pinned host keys {state.known_hosts}")


@command.command()
@_name_option
@click.option(
    "--hosts",
    type=click.IntRange(1, MAX_HOSTS),
    help="How many hosts at least.  [default: those it has, or 1]",
)
@click.option(
    "--release",
    type=click.Choice(RELEASES),
    default=DEFAULT_RELEASE,
    show_default=True,
    help="Debian release of the hosts.",
)
@click.option(
    "--mirror",
    default="",
    envvar="BASTIDE_MIRROR",
    metavar="URL",
    help="Debian mirror for the first build of the root file system; else Debian's own.",
)
@click.option(
    "--cpus",
    type=click.FloatRange(0),
    help="CPUs that each host may use at most, also of hosts that run; 0 for all of this "
    "machine.  [default: what the lab has, or 0]",
)
@output.reports(_view_state)
def up(name: str, hosts: int | None, release: str, mirror: str, cpus: float | None) -> LabState:
    """Raise the lab, or repair and extend the one that is there.

    Boots what is down, adds hosts if more are asked for, then proves on every node that no route
    leaves. The first call builds a root file system of about 280 MB and keeps it in Bastide's
    cache; later ones take seconds. Killed half-way, the next call carries on.
    """
    return manager.up(
        LabSpec(name=name, hosts=hosts, release=release, mirror=mirror, cpus=cpus),
        layout.Home.default(),
        layout.cache_directory(),
        output.progress(),
    )


@command.command()
@_name_option
@output.reports(_view_state)
def status(name: str) -> LabState:
    """Show the lab's hosts, addresses and whether they run."""
    return manager.status(layout.Home.default(), name)


@command.command()
@_name_option
@click.option("--host", required=True, help="Whose power to cut.")
@output.reports(_view_state)
def kill(name: str, host: str) -> LabState:
    """Cut a host's power: its processes are killed at once, its disk stays.

    To rehearse a power cut; `bastide lab up` boots the host again.
    """
    return manager.kill(layout.Home.default(), name, host)


def _view_removed(removed: manager.Removed) -> None:
    console = output.stdout()
    if not removed.hosts and not removed.namespaces:
        console.print(f"There is no lab {removed.name}; nothing to do", markup=False)
        return
    console.print(f"Removed lab {removed.name}: {', '.join(removed.hosts) or 'no hosts'}")
    if removed.visitors:
        ids = ", ".join(map(str, removed.visitors))
        console.print(f"  your own processes in its network were left alone: {ids}")


@command.command()
@_name_option
@click.option(
    "--abandoned",
    is_flag=True,
    help="Also if another BASTIDE_HOME raised it, when none of its hosts runs any more.",
)
@output.reports(_view_removed)
def down(name: str, *, abandoned: bool) -> manager.Removed:
    """Remove the lab: hosts, disks, keys and network; the cached root file system stays."""
    home, progress = layout.Home.default(), output.progress()
    return manager.down(home, name, progress, abandoned=abandoned)


@command.command("exec", context_settings={"allow_interspersed_args": False})
@_name_option
@click.option("--host", help="Run it on this host by SSH instead of on the control node.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND]...")
def execute(name: str, host: str | None, argv: tuple[str, ...]) -> NoReturn:
    """Run a command on the control node, or on a host.

    On the control node the command runs here, in your folder and environment, but in the lab's
    network: nothing but the hosts can be reached. Input, output, terminal and exit code are the
    command's own. Without a command you get a shell. Put -- before the command.
    """
    try:
        state = states.load(layout.Home.default(), name)
        requirements.check_root()
        manager.check_reachable(state, host)
        words = list(argv) or ([os.environ.get("SHELL", "/bin/sh")] if host is None else [])
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        full = manager.exec_argv(state, words, host, terminal=terminal)
    except BastideError as error:
        output.fail(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(full[0], full)  # noqa: S606 - becoming the command passes on tty, signals and exit code


@dataclass(frozen=True)
class Requirements:
    """What a lab needs from this machine.

    Args:
        packages: Debian packages.
        missing: Those of them that are not installed.
        install: The command that installs them all.
    """

    packages: tuple[str, ...]
    missing: tuple[str, ...]
    install: str


def _view_requirements(needed: Requirements) -> None:
    console = output.stdout()
    console.print(needed.install, markup=False)
    if needed.missing:
        output.stderr().print(f"missing on this machine: {', '.join(needed.missing)}")


@command.command("requirements")
@output.reports(_view_requirements)
def show_requirements() -> Requirements:
    """Print the command that installs what a lab needs on this machine."""
    return Requirements(requirements.PACKAGES, requirements.missing(), requirements.INSTALL_LINE)
