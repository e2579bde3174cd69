"""Site + manifest + model cards → expectations; pure."""

from __future__ import annotations

from collections.abc import Mapping

from bastide import layout
from bastide.errors import ConfigError
from bastide.plan.firewall import FIREWALL_UNIT
from bastide.plan.floating import floats
from bastide.plan.services import SYSLOG, components_on, endpoints, units_of
from bastide.plan.tls import speaks_tls
from bastide.render.context import model_of
from bastide.render.features import FIREWALL, features
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.expectations import (
    Expectations,
    ExpectedGateway,
    ExpectedHost,
    ExpectedListener,
    ExpectedModel,
    ExpectedUnit,
)
from bastide.schema.model_card import ModelCard
from bastide.schema.site import Group, Site

NO_CARD = "BAS-2070"


def expectations(
    site: Site,
    manifest: Manifest,
    cards: Mapping[str, ModelCard],
    *,
    release: str,
    bundle: str,
    authority: str,
) -> Expectations:
    """Return what ``site`` must be once ``manifest``'s bundle is applied to it.

    Args:
        site: The site.
        manifest: Manifest of the bundle.
        cards: Model cards by name; the embedding model's tells the width of its vectors.
        release: name-version of the release.
        bundle: The bundle's digest.
        authority: Path of the site CA's certificate on this machine.

    Raises:
        ConfigError: A chosen model is not in the bundle, or has no card.
    """
    address, *others = (str(each) for each in site.gateway_addresses())
    port = site.network.gateway_port
    return Expectations(
        site=site.name,
        release=release,
        bundle=bundle,
        gateway=ExpectedGateway(
            url=f"https://{_in_url(address)}:{port}",
            address=address,
            others=tuple(others),
            port=port,
            name=site.network.gateway_name,
            authority=authority,
        ),
        chat_model=model_of(manifest, site.models.llm).name,
        embedding_model=model_of(manifest, site.models.embeddings).name,
        dimensions=_dimensions(cards, site.models.embeddings),
        parallel=site.sizes.llm.parallel,
        texts_days=site.audit.texts_days,
        hosts={name: _host(site, manifest, name) for name in site.hosts},
    )


def with_generations(expected: Expectations, digests: Mapping[str, str]) -> Expectations:
    """Return the expectations with what each host's generation is made of.

    Args:
        expected: Of the site.
        digests: Digest of a generation's content, by host; one from another bundle is as good.
    """
    hosts = {name: host.replace(generation=digests[name]) for name, host in expected.hosts.items()}
    return expected.replace(hosts=hosts)


def _host(site: Site, manifest: Manifest, name: str) -> ExpectedHost:
    host = site.hosts[name]
    chosen = {Group.LLM: site.models.llm, Group.EMBEDDINGS: site.models.embeddings}
    packages = manifest.of_kind(ArtifactKind.OS_PACKAGE)
    carried = {component for each in packages for component in each.components}
    optional = {Component.MONITORING, Component.EXPORTERS}
    components = components_on(site, name) - (optional - carried)
    units = {unit for each in components for unit in units_of(each)}
    listeners = [
        ExpectedListener(
            service=each.name,
            port=each.port,
            address=each.address,
            mutual_tls=each.name in set(Group) and speaks_tls(site, Group(each.name), name),
        )
        for each in endpoints(site, name)
        if each.unit in units
    ]
    if floats(site, manifest, name):
        floating = str(site.network.gateway_address)
        port = site.network.gateway_port
        listeners.append(ExpectedListener(service="gateway", port=port, address=floating))
        units |= set(units_of(Component.KEEPALIVED))
    if site.logs.syslog is not None:
        units.add(SYSLOG)
    if FIREWALL in features(site, manifest):
        units.add(FIREWALL_UNIT)
    return ExpectedHost(
        address=str(host.address),
        groups=host.groups,
        units=tuple(ExpectedUnit(name=unit) for unit in sorted(units)),
        listeners=tuple(listeners),
        models=tuple(
            _model(model_of(manifest, chosen[group])) for group in host.groups if group in chosen
        ),
    )


def _model(artifact: Artifact) -> ExpectedModel:
    return ExpectedModel(
        name=artifact.name,
        path=str(layout.host_model(artifact.sha256)),
        link=str(layout.HOST_CURRENT / "models" / f"{artifact.name}.gguf"),
        sha256=artifact.sha256,
        size=artifact.size,
    )


def _dimensions(cards: Mapping[str, ModelCard], name: str) -> int:
    if name not in cards:
        raise ConfigError(
            f"the bundle carries no card of the embedding model '{name}', so the width of its"
            " vectors is not known",
            code=NO_CARD,
            hint="import a complete bundle of the release",
        )
    return cards[name].embedding_length


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
