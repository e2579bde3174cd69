"""A bundle's contents → one HTML page that needs nothing else: no font, no image, no network."""

from __future__ import annotations

import base64
import hashlib

from bastide import resources
from bastide.bundle.contents import Contents
from bastide.progress import human_bytes
from bastide.render.engine import strict_environment

TEMPLATE = "bundle.html.j2"
SCRIPT = "bundle.js"


def html(contents: Contents) -> str:
    """Return ``contents`` as a page; every text from outside is escaped.

    The page's own few lines of script are allowed by their digest, and nothing else is.
    """
    environment = strict_environment(resources.templates())
    environment.filters["bytes"] = human_bytes
    source, _, _ = environment.loader.get_source(environment, SCRIPT)  # type: ignore[union-attr]
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    page = environment.get_template(TEMPLATE)
    return page.render(contents=contents, script=source, script_digest=f"sha256-{digest}")
