"""The secrets of a site as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from bastide.site import pki
from bastide.site.keyring import Keyring
from bastide.site.keystore import FULL, READ_ONLY, Clients, own_client
from bastide.site.receivers import ReceiverSecrets


@dataclass(frozen=True, repr=False)
class Secrets:
    """All secrets of a site, in the clear: keep it in memory, never print or log it."""

    api_key: str
    read_only_api_key: str
    ca_certificate_pem: str
    ca_key_pem: str
    gateway_certificate_pem: str
    gateway_key_pem: str
    depot_certificate_pem: str
    depot_key_pem: str
    # The vector DB's own keys; empty if they are still those that clients began with.
    vectordb_api_key: str = ""
    vectordb_read_only_api_key: str = ""
    clients: Clients = ()
    keyring: Keyring = field(default_factory=Keyring)
    receivers: ReceiverSecrets = field(default_factory=ReceiverSecrets)

    def __repr__(self) -> str:
        return "Secrets(…)"

    @property
    def all_clients(self) -> Clients:
        """The gateway's clients: the two of ``init``, then those that were created."""
        own = {FULL: self.api_key, READ_ONLY: self.read_only_api_key}
        made = tuple(own_client(name, key, self.clients) for name, key in own.items())
        return made + tuple(client for client in self.clients if client.name not in own)

    @property
    def authority(self) -> pki.Certified:
        """The site CA with its key."""
        return pki.Certified(self.ca_certificate_pem, self.ca_key_pem)

    @property
    def anchors_pem(self) -> str:
        """What clients of the gateway trust: the site CA, and the organisation's if it signs."""
        return self.ca_certificate_pem + self.keyring.anchors_pem
