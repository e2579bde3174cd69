"""``bastide audit``: who asked the gateway what, when, how long, and how many tokens it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from bastide.cli.context import require_ssh_files, site_option
from bastide.cli.output import reports, stderr, stdout
from bastide.errors import ConfigError
from bastide.layout import SiteFolder
from bastide.run.ask import Line
from bastide.run.gateways import AuditAnswer, read_audit
from bastide.site.codes import AUDIT_SILENT, KEY_TIME
from bastide.site.config import load_site
from bastide.site.keystore import parse_duration

_SUMS = ("requests", "refused", "failed", "inexact", "bytes_in", "bytes", "prompt_tokens",
         "completion_tokens", "total_ms")  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """The gateways' audit log of a time.

    Args:
        since: From when on.
        until: Before when.
        entries: The newest requests of all gateways, oldest first, each with its ``gateway``.
        usage: Sums by day (UTC) and identity; ``-`` is everybody without a key that holds.
        lost: Lines that gateways could not write since they were started, by gateway.
        silent: Gateways that did not answer, each with the reason.
        error: None of them answered.
    """

    since: datetime
    until: datetime
    entries: tuple[Mapping[str, Any], ...]
    usage: tuple[Mapping[str, Any], ...]
    lost: Mapping[str, int]
    silent: Mapping[str, str]
    error: ConfigError | None = None


def view_usage(result: Audit) -> None:
    """Print sums by day and identity."""
    console = stdout()
    console.print(f"{'day':<10}  {'identity':<24} {'requests':>9} {'refused':>8} {'failed':>7} "
                  f"{'prompt':>10} {'completion':>10} {'MB out':>8}")  # fmt: skip
    for row in result.usage:
        mark = "~" if row["inexact"] else " "
        console.print(
            f"{row['day']:<10}  {row['identity']:<24} {row['requests']:>9} {row['refused']:>8} "
            f"{row['failed']:>7} {row['prompt_tokens']:>10} {row['completion_tokens']:>9}{mark} "
            f"{row['bytes'] / 1e6:>8.1f}",
            markup=False,
        )
    _warn(result)


def _view(result: Audit) -> None:
    for each in result.entries:
        time = datetime.fromtimestamp(int(each["at"]), UTC).strftime("%Y-%m-%d %H:%M:%S")
        tokens = f"{each.get('prompt_tokens') or 0}+{each.get('completion_tokens') or 0}"
        reason = "" if each.get("reason") in {None, "-"} else f" {each['reason']}"
        click.echo(
            f"{time} {each.get('identity', '-'):<20} {each.get('status')} {each.get('method')} "
            f"{each.get('path')} {each.get('total_ms')} ms, {tokens} tokens, "
            f"{each.get('client')}{reason}"
        )
    _warn(result)


def _warn(result: Audit) -> None:
    for host, why in result.silent.items():
        stderr().print(f"warning: {host} did not answer: {why}", markup=False)
    for host, lines in result.lost.items():
        if lines:
            stderr().print(f"warning: {host} lost {lines} lines of its log", markup=False)


@click.command("audit")
@click.option("--key", "identity", default="", help="Only of the client of that name.")
@click.option("--since", default="1d", show_default=True, metavar="TIME",
              help="How long ago (2h, 7d), or a day such as 2026-11-26, UTC.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 10000), default=100, show_default=True,
              help="How many of the newest requests are shown.")  # fmt: skip
@site_option
@reports(_view)
def command(site_dir: Path, identity: str, since: str, limit: int) -> Audit:
    """Show who asked the gateway what, when, how long it took and how many tokens.

    It comes from the gateways' journals, which never hold what was asked or answered. `bastide
    keys usage` adds it up by client and day.
    """
    return look(site_dir, identity, since, limit)


@click.command("usage")
@click.option("--key", "identity", default="", help="Only of the client of that name.")
@click.option("--since", default="7d", show_default=True, metavar="TIME",
              help="How long ago (2h, 7d), or a day such as 2026-11-26, UTC.")  # fmt: skip
@site_option
@reports(view_usage)
def usage(site_dir: Path, identity: str, since: str) -> Audit:
    """Add up requests and tokens by client and day.

    A completion with `~` holds answers that a client left before their end, of which the pieces
    were counted.
    """
    return look(site_dir, identity, since, 0)


def look(site_dir: Path, identity: str, since: str, limit: int) -> Audit:
    """Return the audit log of all gateways.

    Args:
        site_dir: The site's folder.
        identity: Only this client's; empty for all.
        since: A time ago or a day, as typed.
        limit: How many entries.

    Raises:
        ConfigError: The site or the time is wrong.
    """
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    require_ssh_files(site, folder)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    begin = parse_since(since, until)
    given = {"since": int(begin.timestamp()), "until": int(until.timestamp()),
             "identity": identity, "limit": limit}  # fmt: skip
    return joined(begin, until, read_audit(Line(site, folder.root), given), limit)


def parse_since(text: str, now: datetime) -> datetime:
    """Return the time that ``7d`` (ago) or ``2026-11-26`` (UTC) says.

    Raises:
        ConfigError: It says none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except ConfigError as error:
        raise ConfigError(
            f"--since {text}: expected a time ago or a day", code=KEY_TIME,
            hint="write for example 2h, 7d or 2026-11-26",
        ) from error  # fmt: skip


def joined(since: datetime, until: datetime, answers: Iterable[AuditAnswer], limit: int) -> Audit:
    """Return what all gateways said, as one."""
    answers = tuple(answers)
    entries = [{**e, "gateway": a.host} for a in answers for e in a.entries]
    entries.sort(key=lambda entry: int(entry["at"]))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for answer in answers for row in answer.usage):
        key = (str(row["day"]), str(row["identity"]))
        sums = rows.setdefault(key, {"day": key[0], "identity": key[1], **dict.fromkeys(_SUMS, 0)})
        for name in _SUMS:
            sums[name] += int(row[name])
    silent = {answer.host: answer.why for answer in answers if answer.why}
    error = None
    if answers and len(silent) == len(answers):
        error = ConfigError(
            "no gateway gave its audit log", code=AUDIT_SILENT,
            hint="see why above; `bastide status` shows whether the host answers at all",
        )  # fmt: skip
    lost = {answer.host: answer.lost for answer in answers if answer.lost is not None}
    newest = tuple(entries[-limit:] if limit else ())
    usage = tuple(rows[key] for key in sorted(rows))
    return Audit(since, until, newest, usage, lost, silent, error)
