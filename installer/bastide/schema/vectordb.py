"""``vectordb:`` of ``site.yaml``: which engine serves vectors, and how many copies there are."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from bastide.schema.base import Value

Count = Annotated[int, Field(ge=1)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]


class VectorEngine(StrEnum):
    """What serves Qdrant's API."""

    EDGE = "edge"  # Qdrant Edge behind Bastide's own service: one host
    SERVER = "server"  # Qdrant's own server: one host or a cluster of several


class StrictMode(Value):
    """Limits of collections whose makers say nothing of them; both engines keep them."""

    enabled: bool = Field(default=False, description="Whether the limits below are kept.")
    max_query_limit: Count | None = Field(
        default=None, description="Most points that one query may ask for."
    )
    unindexed_filtering_retrieve: bool | None = Field(
        default=None, description="false: reads may filter by indexed fields only."
    )
    unindexed_filtering_update: bool | None = Field(
        default=None, description="false: changes may filter by indexed fields only."
    )
    search_max_hnsw_ef: Count | None = Field(
        default=None, description="Largest hnsw_ef that a search may ask for."
    )
    search_allow_exact: bool | None = Field(
        default=None, description="false: no search may go without the index."
    )
    search_max_oversampling: Annotated[float, Field(ge=1)] | None = Field(
        default=None, description="Largest oversampling that a search may ask for."
    )
    search_max_batchsize: Count | None = Field(
        default=None, description="Most searches in one request."
    )
    upsert_max_batchsize: Count | None = Field(
        default=None, description="Most points in one upsert."
    )
    max_points_count: Count | None = Field(default=None, description="Most points of a collection.")
    filter_max_conditions: Count | None = Field(
        default=None, description="Most conditions in one filter."
    )
    condition_max_size: Count | None = Field(
        default=None, description="Most elements in one condition, such as ids."
    )
    max_payload_index_count: Count | None = Field(
        default=None, description="Most payload indexes of a collection."
    )
    read_rate_limit: Count | None = Field(
        default=None, description="Reads of a collection in one minute, for each replica."
    )
    write_rate_limit: Count | None = Field(
        default=None, description="Writes of a collection in one minute, for each replica."
    )

    def given(self) -> dict[str, object]:
        """Return the settings to write into a configuration; none if it is off."""
        return self.model_dump(exclude_none=True) if self.enabled else {}


class VectorDb(Value):
    """How vectors are served."""

    engine: VectorEngine = Field(
        default=VectorEngine.EDGE,
        description="edge or server; the release must carry it.",
    )
    replication_factor: Count = Field(
        default=1, description="Copies of each shard that a cluster keeps, on different hosts."
    )
    write_consistency_factor: Count = Field(
        default=1, description="Copies that must have a write before it is acknowledged."
    )
    peer_port: PortNumber = Field(
        default=6335, description="Port on which the hosts of a cluster talk to one another."
    )
    grpc_port: PortNumber | None = Field(
        default=None, description="Port of gRPC (engine server); without it, gRPC is off."
    )
    strict_mode: StrictMode = StrictMode()

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Self:
        if self.write_consistency_factor > self.replication_factor:
            raise ValueError(
                f"write_consistency_factor is {self.write_consistency_factor}, more than "
                f"replication_factor, {self.replication_factor}: no write would ever be complete"
            )
        if self.engine is VectorEngine.SERVER:
            return self
        if self.replication_factor > 1:
            raise ValueError("the engine edge keeps one copy: set engine: server for replicas")
        if self.grpc_port is not None:
            raise ValueError(
                "the engine edge has no gRPC: take grpc_port out, or set engine: server"
            )
        return self

    def why_not(self, hosts: int) -> str:
        """Return why so many hosts cannot serve vectors so; empty if they can."""
        if self.engine is VectorEngine.EDGE and hosts > 1:
            return (
                f"group 'vectordb' has {hosts} hosts, and the engine edge is one host's: "
                "set vectordb.engine: server for a cluster"
            )
        if self.replication_factor > hosts:
            return (
                f"vectordb.replication_factor is {self.replication_factor}, and the group "
                f"'vectordb' has {hosts} hosts: each copy needs one of its own"
            )
        if hosts == 2:
            return (
                "group 'vectordb' has 2 hosts: a cluster of two stops when either fails, "
                "for it decides by majority; take 1 or at least 3"
            )
        return ""

    def ports(self) -> dict[str, int]:
        """Return the ports beside the REST API's that this engine listens on, by setting."""
        if self.engine is VectorEngine.EDGE:
            return {}
        grpc = {"vectordb.grpc_port": self.grpc_port} if self.grpc_port is not None else {}
        return {"vectordb.peer_port": self.peer_port, **grpc}
