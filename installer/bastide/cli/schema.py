"""``bastide schema``: JSON Schemas of the files that people edit and programs read."""

from __future__ import annotations

import json

import click

from bastide.schema.publishing import SCHEMAS, json_schema


@click.command("schema")
@click.argument("name", metavar="NAME", type=click.Choice(sorted(SCHEMAS)))
def command(name: str) -> None:
    """Print the JSON Schema of one kind of file.

    NAME is one of: bundle, chunks, delta, expectations, isolation, ledger, lock, manifest, model,
    plan, policy, prices, receipt, rehearsal, release, scores, site, suite, target, verification,
    volume, workload. That of the ledger is one line's. Editors that know YAML schemas
    complete and check your files with it.
    """
    click.echo(json.dumps(json_schema(name), indent=2))
