"""A site with monitoring, and what its host gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plan_factories as make

from bastide import resources
from bastide.render.trees import render_trees
from bastide.schema.loading import load_yaml
from bastide.schema.monitoring import Monitoring
from bastide.schema.release import Release
from bastide.schema.site import SERVING, Group, Site


def make_site(**monitoring: Any) -> Site:
    site = make.make_site({"host1": (*SERVING, Group.MONITORING)})
    return site.replace(monitoring=Monitoring(**monitoring))


def render(site: Site, folder: Path) -> Path:
    """Write what the monitoring host gets; return the folder with its configuration."""
    release = load_yaml(resources.catalogue() / "releases/starter-2026.12.0.yaml", Release)
    trees = render_trees(site, release, make.make_manifest(), make.make_cards())
    for path, file in trees["host1"].files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    return folder / "etc"
