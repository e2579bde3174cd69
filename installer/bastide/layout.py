"""Every file name: in a bundle, on the control node, in a site and run directory, on hosts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# --- inside a bundle -------------------------------------------------------------------------
BUNDLE_ROOT = "bundle.json"
BUNDLE_MANIFEST = "manifest.json"
BUNDLE_LOCK = "lock.json"
BUNDLE_BOOTSTRAP = "bootstrap.py"
BUNDLE_METADATA = "metadata"
TIMESTAMP = f"{BUNDLE_METADATA}/timestamp.json"


def metadata_path(role: str, version: int) -> str:
    """Return where a bundle has a role's TUF metadata: ``metadata/3.root.json``.

    Only the timestamp has no version in its name: it is where a reader begins.
    """
    return TIMESTAMP if role == "timestamp" else f"{BUNDLE_METADATA}/{version}.{role}.json"


BUNDLE_CHUNKS = "chunks.json"
BUNDLE_SBOM = "sbom.cdx.json"
BUNDLE_NOTICES = "NOTICES.txt"


DELTA = "delta.json"
VOLUME = "volume.json"
VOLUME_FILE_SIZE = 1000 * 4 * 2**20  # bytes; below FAT32's limit of 4 GiB less one byte


def volume_name(number: int, total: int) -> str:
    """Return the name of a volume's folder: ``volume-03-of-11``."""
    width = max(len(str(total)), 2)
    return f"volume-{number:0{width}}-of-{total:0{width}}"


def volume_file(index: int) -> str:
    """Return the name of a volume's ``index``-th payload file, from 0; fit for any file system."""
    return f"data-{index + 1:03}.bin"


def patch_path(sha256: str) -> str:
    """Return where a delta has the patch that makes the blob of that digest."""
    return f"delta/{sha256}.patch"


def blob_path(sha256: str) -> PurePosixPath:
    """Return a blob's path inside a bundle or a store: ``sha256/ab/<digest>``."""
    return PurePosixPath("sha256") / sha256[:2] / sha256


# --- on the machines that run Bastide --------------------------------------------------------
def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "bastide"


def cache_directory() -> Path:
    """Return the builder's cache, outside any tree: ``$BASTIDE_CACHE`` or the user's cache."""
    override = os.environ.get("BASTIDE_CACHE")
    return Path(override) if override else _xdg("XDG_CACHE_HOME", ".cache")


@dataclass(frozen=True)
class Home:
    """The control node's own state; ``$BASTIDE_HOME`` or the user's data folder."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """Return the home that the environment names."""
        override = os.environ.get("BASTIDE_HOME")
        return cls(Path(override) if override else _xdg("XDG_DATA_HOME", ".local/share"))

    @property
    def store(self) -> Path:
        """Content-addressed blobs and imported bundles' manifests."""
        return self.root / "store"

    @property
    def lab(self) -> Path:
        """Lab hosts' root file systems, keys and state."""
        return self.root / "lab"

    def rehearsal(self, name: str) -> RehearsalFolder:
        """Return the folder of the rehearsal in the lab ``name``."""
        return RehearsalFolder(self.root / "rehearsals" / name)

    @property
    def publisher(self) -> Path:
        """The trust folder of those who sign bundles: keys, TUF metadata, drafts."""
        return self.root / "publisher"

    @property
    def site_trust(self) -> Path:
        """Whom the isolated side trusts: the pinned root and what was accepted last."""
        return self.root / "trust" / "site.json"

    @property
    def receipt_key(self) -> Path:
        """The key that signs what this site says it holds, and its backups."""
        return self.root / "receipt-key.pem"

    @property
    def known_receipt_keys(self) -> Path:
        """Of a builder: the receipt key of each site, remembered at its first receipt."""
        return self.root / "known-receipt-keys.json"

    @property
    def ledger(self) -> Path:
        """The hash-chained record of every operation, one JSON object a line."""
        return self.root / "ledger.jsonl"

    @property
    def vault_passwords(self) -> Path:
        """Vault passwords, one file a site, mode 0600, apart from the site folder."""
        return self.root / "vault"

    @property
    def acceptances(self) -> Path:
        """Licence terms that somebody here agreed to: who, when and why."""
        return self.root / "acceptances.json"

    @property
    def licence_policy(self) -> Path:
        """This organisation's or site's own licence policy; without it, Bastide's default holds."""
        return self.root / "licences.yaml"


@dataclass(frozen=True)
class SiteFolder:
    """The folder around one ``site.yaml``."""

    root: Path

    @property
    def config(self) -> Path:
        """``site.yaml``."""
        return self.root / "site.yaml"

    @property
    def secrets(self) -> Path:
        """API keys and private keys, encrypted with Ansible Vault."""
        return self.root / "secrets.vault.yaml"

    @property
    def authority(self) -> Path:
        """The site CA's certificate, which clients trust."""
        return self.root / "ca.pem"

    @property
    def plan(self) -> Path:
        """The newest plan."""
        return self.root / "plan.json"

    @property
    def lock(self) -> Path:
        """The lock that one run at a time holds."""
        return self.root / ".lock"

    @property
    def runs(self) -> Path:
        """One folder a run, mode 0700, kept for audit."""
        return self.root / "runs"

    @property
    def reports(self) -> Path:
        """Verification reports."""
        return self.root / "reports"

    @property
    def recipients(self) -> Path:
        """Public halves of the recovery keys that backups are sealed to, one a line (age)."""
        return self.root / "backup-recipients.txt"

    @property
    def evaluations(self) -> Path:
        """How generations answered golden questions, one file a host, generation and suite."""
        return self.root / "evaluations"


@dataclass(frozen=True)
class BackupFolder:
    """One backup: a folder that has its final name only when all of it is on the disk."""

    root: Path

    @property
    def header(self) -> Path:
        """The signed header: what the backup is, and the digests of its sealed parts."""
        return self.root / "backup.json"

    def part(self, name: str) -> Path:
        """Return one sealed part."""
        return self.root / name

    @staticmethod
    def partial(out: Path, backup_id: str) -> Path:
        """Return where a backup is made; what a killed one leaves there is no backup."""
        return out / f".partial-{backup_id}"

    @staticmethod
    def lock(out: Path) -> Path:
        """Return the lock of a folder of backups: one is made, or removed, at a time."""
        return out / ".lock"


@dataclass(frozen=True)
class RehearsalFolder:
    """One rehearsal's own home and site; removed with its lab."""

    root: Path

    @property
    def lock(self) -> Path:
        """The lock that one rehearsal of this name holds; beside the folder, which goes."""
        return self.root.with_name(f"{self.root.name}.lock")

    @property
    def home(self) -> Home:
        """A home of its own, so that neither ledger nor vault of the operator sees the lab."""
        return Home(self.root / "home")

    @property
    def site(self) -> SiteFolder:
        """The site as it stands in the lab."""
        return SiteFolder(self.root / "site")

    @property
    def password(self) -> Path:
        """The vault password of the lab's site."""
        return self.root / "vault-password"

    @property
    def raised(self) -> Path:
        """Which lab was raised for it: a digest that no other lab of the name has."""
        return self.root / "lab"

    @property
    def samples(self) -> Path:
        """Every request of the client that keeps asking, and its answer, one JSON object a line."""
        return self.root / "samples.jsonl"


SYSTEM_UNITS = Path("/etc/systemd/system")  # of the control node, for timers


# Of this machine, not of a home: a lab's namespaces and processes are this machine's, too.
LAB_RUN = Path("/run/bastide")


def lab_lock(name: str) -> Path:
    """Return the lock that one lab command at a time holds."""
    return LAB_RUN / f"lab-{name}.lock"


def lab_owner(name: str) -> Path:
    """Return the file that says whose folder the lab of this name is on this machine."""
    return LAB_RUN / f"lab-{name}.owner"


@dataclass(frozen=True)
class LabFolder:
    """One lab's own state below ``Home.lab``; `lab down` removes it whole."""

    root: Path

    @property
    def state(self) -> Path:
        """Hosts, addresses and paths, as others read them."""
        return self.root / "state.json"

    @property
    def private_key(self) -> Path:
        """The SSH key that every host of the lab lets in as root."""
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' own keys, pinned when their disks were made."""
        return self.root / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """``ssh -F`` file, so that ``ssh host1`` works from the lab's control node."""
        return self.root / "ssh_config"

    @property
    def hosts(self) -> Path:
        """One folder a host."""
        return self.root / "hosts"

    def host(self, name: str) -> LabHostFolder:
        """Return the folder of one host."""
        return LabHostFolder(self.hosts / name)


@dataclass(frozen=True)
class LabHostFolder:
    """One lab host on disk."""

    root: Path

    @property
    def disk(self) -> Path:
        """Its root file system."""
        return self.root / "disk"

    @property
    def partial_disk(self) -> Path:
        """A root file system still being made."""
        return self.root / "disk.partial"

    @property
    def process(self) -> Path:
        """Who runs it: the boot id of this machine and the process's ``/proc`` stat line."""
        return self.root / "process"

    @property
    def console(self) -> Path:
        """All that it wrote on its console since it was made."""
        return self.root / "console.log"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: ansible-runner's private directory and the record of what happened."""

    root: Path

    @property
    def id(self) -> str:
        """The run's id, which is the folder's name."""
        return self.root.name

    @property
    def inventory(self) -> Path:
        """Ansible's inventory."""
        return self.root / "inventory" / "hosts.yml"

    @property
    def project(self) -> Path:
        """The copy of the playbooks that this run uses."""
        return self.root / "project"

    @property
    def ansible_config(self) -> Path:
        """Ansible's settings for this run; the user's own are not read."""
        return self.root / "ansible.cfg"

    @property
    def secrets(self) -> Path:
        """Variables that only the hosts may see, encrypted with Ansible Vault."""
        return self.root / "secrets" / "secrets.yml"

    @property
    def artifacts(self) -> Path:
        """ansible-runner's events and output, one folder a playbook."""
        return self.root / "artifacts"

    @property
    def plan(self) -> Path:
        """The plan that was carried out."""
        return self.root / "plan.json"

    @property
    def site(self) -> Path:
        """The site's description as it was carried out, as JSON: where a rollback goes back to."""
        return self.root / "site.json"

    @property
    def provenance(self) -> Path:
        """Digests of what the run was made of: playbooks, inventory, plan."""
        return self.root / "provenance.json"

    @property
    def journal(self) -> Path:
        """Intent and outcome of each phase, one JSON object a line, fsynced."""
        return self.root / "journal.jsonl"

    @property
    def log(self) -> Path:
        """The timeline as plain text."""
        return self.root / "run.log"

    @property
    def summary(self) -> Path:
        """The result as JSON."""
        return self.root / "summary.json"

    def stage(self, host: str) -> Path:
        """Return a host's stage description."""
        return self.root / "hosts" / host / "stage.json"

    def tree(self, host: str) -> Path:
        """Return a host's tree archive."""
        return self.root / "hosts" / host / "tree.tar"


# --- on hosts --------------------------------------------------------------------------------
HOST_OPT = PurePosixPath("/opt/bastide")
HOST_GENERATIONS = HOST_OPT / "generations"
HOST_CURRENT = HOST_OPT / "current"
HOST_STATE = PurePosixPath("/var/lib/bastide")
HOST_MODELS = HOST_STATE / "models"
HOST_ARTIFACTS = HOST_STATE / "artifacts"
HOST_EVIDENCE = HOST_STATE / "evidence"
HOST_METRICS = HOST_STATE / "metrics"  # what the host tells of itself; the node exporter reads it
HOST_NOTES = HOST_STATE / "notes"  # when what was done last, such as a backup; written by runs
HOST_TEXTS = HOST_STATE / "texts"  # prompts and answers, if site.yaml wants them; of the LLM's user
HOST_ETC = PurePosixPath("/etc/bastide")
HOST_SECRETS = HOST_ETC / "secrets"
HOST_SECRET_FILES = {  # name: file, groups that get it (none: every host)
    "ca_pem": (HOST_ETC / "ca.pem", ()),
    "api_key": (HOST_SECRETS / "api_key", ("vectordb",)),
    "read_only_api_key": (HOST_SECRETS / "read_only_api_key", ("vectordb", "monitoring")),
    "gateway_pem": (HOST_SECRETS / "gateway.pem", ("gateway",)),
    "gateway_keys_map": (HOST_SECRETS / "gateway-keys.map", ("gateway",)),
    "vectordb_keys_map": (HOST_SECRETS / "vectordb-keys.map", ("gateway",)),
    # Of sites with mutual TLS (docs/certificates.md); each host has keys of its own.
    "machines_ca_pem": (HOST_SECRETS / "machines-ca.pem", ()),
    "service_pem": (HOST_SECRETS / "service.pem", ("llm", "embeddings", "vectordb")),
    "agent_pem": (HOST_SECRETS / "agent.pem", ("llm", "embeddings", "vectordb")),
    "gateway_client_pem": (HOST_SECRETS / "gateway-client.pem", ("gateway",)),
    "monitoring_client_pem": (HOST_SECRETS / "monitoring-client.pem", ("monitoring",)),
    "alert_secrets": (HOST_SECRETS / "alert-secrets.json", ("monitoring",)),
    # When certificates end, for the node exporter's textfile collector; no secret.
    "certificates_prom": (HOST_ETC / "certificates.prom", ()),
}
# No unit need restart for these: running ones are told, or only the host agent reads them.
HOST_LIVE_SECRETS = ("gateway_keys_map", "agent_pem")
HOST_FOLDERS = {  # that Bastide makes on a host, with their modes
    HOST_OPT: 0o755,
    HOST_OPT / "bin": 0o755,
    HOST_GENERATIONS: 0o755,
    HOST_STATE: 0o755,
    HOST_MODELS: 0o755,
    HOST_ARTIFACTS: 0o755,
    HOST_STATE / "repository": 0o755,
    HOST_STATE / "started": 0o700,
    HOST_ETC: 0o755,
    HOST_SECRETS: 0o700,
}
HOST_DATA = (HOST_STATE / "vectordb", HOST_STATE / "snapshots", HOST_TEXTS)  # uninstalls leave it


def host_model(sha256: str) -> PurePosixPath:
    """Return where a model lies on a host; one file, shared by all generations."""
    return HOST_MODELS / f"{sha256}.gguf"
