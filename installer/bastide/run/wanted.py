"""What a site should be, as one value: its description, the imported bundle, the rendered trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from bastide.plan.inputs import Fingerprints, PlanInputs, TreeDigest
from bastide.plan.path import Road
from bastide.render.trees import HostTree
from bastide.run.ask import agent_program
from bastide.schema.artifact import Manifest
from bastide.schema.facts import SiteFacts
from bastide.schema.model_card import ModelCard
from bastide.schema.site import Site
from bastide.schema.target import Target

NO_SECRETS = Fingerprints()


@dataclass(frozen=True)
class Wanted:
    """Everything that is known without asking a host.

    Args:
        site: The site's description.
        site_digest: Its digest.
        release: The release, as ``name-version``.
        bundle: Digest of the imported bundle.
        manifest: The bundle's artifacts.
        cards: The release's model cards, by model name.
        target: What the hosts should be.
        trees: Each host's rendered files.
        blobs: Where the store has each artifact: path by SHA-256.
        keep_data: A rollback leaves the vector data as it is.
        road: Upgrade manifests, which say from where the release can be reached.
        forget: Hosts that have left the site and are gone for good.
        read_chunks: Reads the digests of the chunks of the bundle's large files, by digest.
    """

    site: Site
    site_digest: str
    release: str
    bundle: str
    manifest: Manifest
    cards: Mapping[str, ModelCard]
    target: Target
    trees: Mapping[str, HostTree]
    blobs: Mapping[str, Path]
    keep_data: bool = False
    road: Road = field(default_factory=Road)
    forget: frozenset[str] = frozenset()
    read_chunks: Callable[[], Mapping[str, tuple[str, ...]]] = dict

    def tree_digests(self) -> dict[str, TreeDigest]:
        """Return what of the trees a plan goes by, by host."""
        return {
            name: TreeDigest(tree.sha256, len(tree.tar), tree.digests)
            for name, tree in self.trees.items()
        }

    def plan_inputs(
        self, facts: SiteFacts, created: str, secrets: Fingerprints = NO_SECRETS
    ) -> PlanInputs:
        """Return what the planner takes.

        Args:
            facts: What the hosts are now.
            created: The present time, RFC 3339.
            secrets: What may be told of the secrets; without it the plan is silent on them.
        """
        return PlanInputs(
            site=self.site,
            site_digest=self.site_digest,
            release=self.release,
            bundle=self.bundle,
            manifest=self.manifest,
            facts=facts,
            trees=self.tree_digests(),
            created=created,
            keep_data=self.keep_data,
            road=self.road,
            secrets=secrets,
            agent=sha256(agent_program().encode()).hexdigest(),
            forget=self.forget,
        )
