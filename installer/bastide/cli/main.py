"""The ``bastide`` command: finds its verbs lazily, so that ``--help`` is instant."""

from __future__ import annotations

import importlib

import click

from bastide import __version__

# verb → (module, one line of help). The order is the order of work, and the order of --help.
VERBS: dict[str, tuple[str, str]] = {
    "models": ("bastide.cli.models", "Choose a model before anything is downloaded."),
    "bundle": ("bastide.cli.bundle", "Build, check and inspect the offline bundle."),
    "trust": ("bastide.cli.trust", "Say who signs bundles, and whom this site believes."),
    "import": ("bastide.cli.import_", "Copy a bundle into the store, checking every byte."),
    "receipt": ("bastide.cli.receipt", "Say, signed, what this site holds: makes deltas."),
    "init": ("bastide.cli.init", "Write a commented site.yaml, secrets and a site CA."),
    "keys": ("bastide.cli.keys", "Make, list, rotate and revoke clients' API keys."),
    "audit": ("bastide.cli.audit", "Show who asked the gateway what, and how much it was."),
    "receivers": ("bastide.cli.receivers", "Keep passwords of those who are told of alerts."),
    "certificates": ("bastide.cli.certificates", "Show, sign and renew certificates."),
    "preflight": ("bastide.cli.preflight", "Check that hosts are fit; changes nothing."),
    "plan": ("bastide.cli.plan", "Show what would change on which host; write a plan file."),
    "rehearse": ("bastide.cli.rehearse", "Try the plan in a lab; say what it will do."),
    "apply": ("bastide.cli.apply", "Carry out a plan on the hosts."),
    "rollback": ("bastide.cli.rollback", "Bring every host back to what it ran before."),
    "verify": ("bastide.cli.verify", "Prove that the site works; write a report."),
    "evaluate": ("bastide.cli.evaluate", "Ask what a host runs golden questions; compare."),
    "status": ("bastide.cli.status", "Show what each host runs."),
    "backup": ("bastide.cli.backup", "Save the site, sealed to a key that is kept elsewhere."),
    "restore": (
        "bastide.cli.restore",
        "Bring a backup back, on the same or other hosts; prove it.",
    ),
    "support-bundle": ("bastide.cli.support_bundle", "Gather logs and states, without secrets."),
    "uninstall": (
        "bastide.cli.uninstall",
        "Take Bastide off hosts; data stays unless asked twice.",
    ),
    "vectordb": ("bastide.cli.vectordb", "See what the vector DB holds; move it elsewhere."),
    "cost": ("bastide.cli.cost", "Compare a year by token, rented, or on servers of one's own."),
    "lab": ("bastide.cli.lab", "Rehearse on disposable, air-gapped systemd hosts."),
    "schema": ("bastide.cli.schema", "Print the JSON Schema of a file that you edit."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the verbs in the order of work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the verb's module and return its ``command``."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name][0]}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of verbs without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bastide")
def main() -> None:
    """Install, prove and upgrade a private generative-AI stack behind an air gap.

    On a connected machine, `bastide bundle build` collects everything that a release needs.
    On the isolated side, `import` takes the bundle in, `init` describes the site, `plan` shows
    what would change, `apply` does it and `verify` proves it. `lab` gives you air-gapped hosts
    to rehearse on. Each command has --help, and --json for machines.
    """
