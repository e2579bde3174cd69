"""Asks hosts for everything that lies on them, to compare before and after an apply."""

from __future__ import annotations

from bastide.run.ask import Line, ask
from bastide.schema.inventory import Inventory, read_inventory


def take_inventories(line: Line) -> dict[str, Inventory]:
    """Return the inventory of every host of the site that answers; changes nothing on them.

    Args:
        line: How the hosts are reached.
    """
    replies = ask(line, "inventory", {host: {} for host in line.site.hosts})
    return {host: read_inventory(reply.answer) for host, reply in replies.items() if reply.answer}
