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

    @property
    def vault_passwords(self) -> Path:
        """Vault passwords, one file a site, mode 0600, apart from the site folder."""
        return self.root / "vault"


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


# --- on hosts --------------------------------------------------------------------------------
HOST_OPT = PurePosixPath("/opt/bastide")
HOST_GENERATIONS = HOST_OPT / "generations"
HOST_CURRENT = HOST_OPT / "current"
HOST_STATE = PurePosixPath("/var/lib/bastide")
HOST_MODELS = HOST_STATE / "models"
HOST_ARTIFACTS = HOST_STATE / "artifacts"
HOST_ETC = PurePosixPath("/etc/bastide")
HOST_SECRETS = HOST_ETC / "secrets"
HOST_RELEASE = HOST_ETC / "release.json"
HOST_UPGRADE_MANIFEST = HOST_ETC / "upgrade-manifest.yaml"


def host_generation(number: int) -> PurePosixPath:
    """Return the folder of generation ``number`` on a host."""
    return HOST_GENERATIONS / str(number)


def host_model(sha256: str) -> PurePosixPath:
    """Return where a model lies on a host; one file, shared by all generations."""
    return HOST_MODELS / f"{sha256}.gguf"
