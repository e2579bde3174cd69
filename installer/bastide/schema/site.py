"""``site.yaml``: one isolated installation, as the operator describes it."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bastide.schema.access import Access
from bastide.schema.audit import Audit
from bastide.schema.backup import BackupRules
from bastide.schema.base import Name, Value
from bastide.schema.certificates import Certificates
from bastide.schema.isolation import Isolation
from bastide.schema.logs import Logs
from bastide.schema.monitoring import (
    ALERTMANAGER_PORT,
    GATEWAY_METRICS_PORT,
    NODE_EXPORTER_PORT,
    PROMETHEUS_PORT,
    Monitoring,
)
from bastide.schema.vectordb import VectorDb

METRICS_PORT = GATEWAY_METRICS_PORT  # where HAProxy tells its metrics
Port = Annotated[int, Field(ge=1, le=65535, description="A TCP port.")]


def _address(value: object) -> IPv4Address | IPv6Address:
    try:
        return ip_address(str(value))
    except ValueError:
        raise ValueError("should be an IPv4 or IPv6 address, such as 10.0.0.5") from None


Spin = Annotated[
    int,
    Field(
        ge=0,
        le=1_000_000,
        description="How long a compute thread that waits stays awake, in turns of a loop "
        "(libgomp's GOMP_SPINCOUNT). 0 sleeps at once; 2000 is for a host that does nothing else.",
    ),
]


Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(_address)]


class Group(StrEnum):
    """What a host does, as in Ansible's groups."""

    LLM = "llm"
    EMBEDDINGS = "embeddings"
    VECTORDB = "vectordb"
    GATEWAY = "gateway"
    MONITORING = "monitoring"


SERVING = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB, Group.GATEWAY)  # every site has each
SINGLE = (Group.MONITORING,)  # one host at most


class SiteHost(Value):
    """One machine of the site."""

    address: Address = Field(description="The host's IP address; there is no name resolution.")
    groups: tuple[Group, ...] = Field(description="What this host does.", min_length=1)


class Ssh(Value):
    """How the control node reaches the hosts."""

    user: str = Field(default="root", description="User to log in as; root, or one with sudo.")
    port: Port = Field(default=22, description="Port of the hosts' SSH server.")
    private_key: str = Field(description="Path of the private key file on the control node.")
    known_hosts: str = Field(description="Path of the known_hosts file with the hosts' keys.")


class Network(Value):
    """Addresses and ports inside the site."""

    control_address: Address = Field(
        description="The control node's own address, from which hosts pull artifacts."
    )
    depot_port: Port = Field(
        default=8740, description="Port on the control node, open only while a plan is applied."
    )
    staging_port: Port = Field(
        default=8741,
        description="Port on which hosts give each other artifacts, open only while they stage.",
    )
    gateway_name: str = Field(
        default="bastide.internal",
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        description="DNS name of the gateway, put into its TLS certificate.",
    )
    gateway_address: Address | None = Field(
        default=None,
        description="Address that floats between the gateways' hosts; one of them holds it. "
        "Without it, clients choose a gateway themselves.",
    )
    gateway_router: int = Field(
        default=51,
        ge=1,
        le=255,
        description="VRRP's number of the floating address; no other on the same network has it.",
    )
    gateway_port: Port = Field(default=8443, description="HTTPS port of the gateway.")
    llm_port: Port = Field(default=8081, description="Service port of the LLM server.")
    embeddings_port: Port = Field(default=8082, description="Service port of embeddings.")
    vectordb_port: Port = Field(default=6333, description="Service port of the vector DB.")

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        names = ("gateway_port", "llm_port", "embeddings_port", "vectordb_port", "staging_port")
        used: dict[int, str] = {
            METRICS_PORT: "the gateway's own metrics",
            PROMETHEUS_PORT: "Prometheus",
            ALERTMANAGER_PORT: "Alertmanager",
            NODE_EXPORTER_PORT: "the node exporter",
        }
        for name in names:
            port = getattr(self, name)
            if port in used:
                raise ValueError(f"{name} is {port}, which {used[port]} uses already")
            used[port] = name
        return self


class ModelChoices(Value):
    """Which models of the release the site runs."""

    llm: Name = Field(description="Name of the chat model's card.")
    embeddings: Name = Field(description="Name of the embedding model's card.")


class LlmSize(Value):
    """How large the LLM service is on each of its hosts."""

    context_tokens: int = Field(
        default=2048, ge=256, description="Context window of one request, in tokens."
    )
    parallel: int = Field(default=8, ge=1, le=256, description="Requests answered at once.")
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 means all of the host's.")
    spin: Spin = 200


class EmbeddingsSize(Value):
    """How large the embedding service is on each of its hosts."""

    parallel: int = Field(default=4, ge=1, le=256, description="Texts embedded at once.")
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 means all of the host's.")
    spin: Spin = 200


class Sizes(Value):
    """How large each service is."""

    llm: LlmSize = LlmSize()
    embeddings: EmbeddingsSize = EmbeddingsSize()
    max_request_megabytes: int = Field(
        default=32, ge=1, le=1024, description="Largest request that the gateway takes, in MiB."
    )
    queue_seconds: int = Field(
        default=30, ge=1, le=3600, description="How long a request may wait before a 503, in s."
    )


class CollectionText(Value):
    """A collection of the vector DB whose vectors Bastide may make anew from its payload."""

    text: str = Field(description="Payload field that holds the text of a point, such as text.")


class UpgradeRules(Value):
    """How upgrades go on at this site."""

    canary: Name | None = Field(
        default=None,
        description="Host that switches first; one with the group llm and as few others as "
        "possible if not given.",
    )
    keep_generations: int = Field(
        default=3,
        ge=2,
        le=50,
        description="Good generations that stay on a host, the live one included.",
    )
    drain_seconds: int = Field(
        default=300,
        ge=1,
        le=3600,
        description="How long a server may take to finish its requests before it restarts, in s.",
    )
    fan_out: Literal["peers", "depot"] = Field(
        default="peers",
        description="From where hosts fetch what several of them lack: from each other as well, or "
        "all of it from the control node.",
    )
    leaves_data_on: tuple[Name, ...] = Field(
        default=(),
        description="Hosts whose vector data may stay behind when the vector DB moves away.",
    )
    collections: dict[str, CollectionText] = Field(
        default={}, description="Collections that are embedded anew when the model changes."
    )


class Site(Value):
    """The whole of ``site.yaml``."""

    format: Literal["bastide.site/1"] = Field(description="Version of this file's format.")
    name: Name = Field(description="The site's name, for reports and certificates.")
    release: Name = Field(description="Release to run: a name, or name-version.")
    target: Name = Field(description="What the hosts are, such as debian12-x86_64.")
    ssh: Ssh
    network: Network
    hosts: dict[Name, SiteHost] = Field(description="The hosts by name.", min_length=1)
    models: ModelChoices
    sizes: Sizes = Sizes()
    upgrades: UpgradeRules = UpgradeRules()
    isolation: Isolation = Isolation()
    access: Access = Access()
    audit: Audit = Audit()
    backup: BackupRules = BackupRules()
    monitoring: Monitoring = Monitoring()
    logs: Logs = Logs()
    vectordb: VectorDb = VectorDb()
    certificates: Certificates = Certificates()

    @model_validator(mode="after")
    def _canary_is_a_host(self) -> Self:
        if self.upgrades.canary is not None and self.upgrades.canary not in self.hosts:
            raise ValueError(f"upgrades.canary is '{self.upgrades.canary}', which is no host")
        return self

    @model_validator(mode="after")
    def _flows_are_of_hosts(self) -> Self:
        for name, flow in self.isolation.flows.items():
            for host in flow.hosts:
                if host not in self.hosts:
                    raise ValueError(f"isolation.flows.{name} names '{host}', which is no host")
        return self

    @model_validator(mode="after")
    def _every_group_has_a_host(self) -> Self:
        for group in Group:
            count = len(self.hosts_in(group))
            if count == 0 and group in SERVING:
                raise ValueError(f"no host is in group '{group}': put it in some host's groups")
            if group in SINGLE and count > 1:
                raise ValueError(f"group '{group}' takes one host in this release, not {count}")
        addresses = [str(host.address) for host in self.hosts.values()]
        twice = sorted({a for a in addresses if addresses.count(a) > 1})
        if twice:
            raise ValueError(f"address {', '.join(twice)} is used by more than one host")
        return self

    @model_validator(mode="after")
    def _vectors_are_served(self) -> Self:
        problem = self.vectordb.why_not(len(self.hosts_in(Group.VECTORDB)))
        if problem:
            raise ValueError(problem)
        network = self.network
        used = {
            network.gateway_port: "network.gateway_port",
            network.llm_port: "network.llm_port",
            network.embeddings_port: "network.embeddings_port",
            network.vectordb_port: "network.vectordb_port",
            network.staging_port: "network.staging_port",
            METRICS_PORT: "the gateway's own metrics",
            PROMETHEUS_PORT: "Prometheus",
            ALERTMANAGER_PORT: "Alertmanager",
            NODE_EXPORTER_PORT: "the node exporter",
        }
        for name, port in self.vectordb.ports().items():
            if port in used:
                raise ValueError(f"{name} is {port}, which {used[port]} uses already")
            used[port] = name
        return self

    @model_validator(mode="after")
    def _floating_address_is_free(self) -> Self:
        floating = self.network.gateway_address
        if floating is None:
            return self
        taken = {str(host.address): name for name, host in self.hosts.items()}
        taken[str(self.network.control_address)] = "the control node"
        if str(floating) in taken:
            raise ValueError(
                f"network.gateway_address is {floating}, the own address of {taken[str(floating)]}:"
                " it must be one that nobody has"
            )
        gateways = [self.hosts[name].address for name in self.hosts_in(Group.GATEWAY)]
        if any(address.version != floating.version for address in gateways):
            raise ValueError("network.gateway_address is of another IP version than the gateways")
        return self

    def gateway_addresses(self) -> tuple[Address, ...]:
        """Return where clients reach a gateway, best first: the floating address, then hosts."""
        floating = self.network.gateway_address
        own = tuple(self.hosts[name].address for name in self.hosts_in(Group.GATEWAY))
        return (*((floating,) if floating else ()), *own)

    @property
    def shares(self) -> bool:
        """Whether hosts give each other artifacts."""
        return self.upgrades.fan_out == "peers" and len(self.hosts) > 1

    @property
    def records_texts(self) -> bool:
        """Whether the LLM's servers record prompts and answers."""
        return self.audit.texts_days is not None

    @property
    def is_monitored(self) -> bool:
        """Whether a host collects metrics, so that all others give theirs."""
        return bool(self.hosts_in(Group.MONITORING))

    def hosts_in(self, group: Group) -> tuple[str, ...]:
        """Return the names of the hosts in ``group``, in the file's order."""
        return tuple(name for name, host in self.hosts.items() if group in host.groups)
