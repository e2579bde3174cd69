"""Where the files that travel with the code are: the only module that knows."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_root() -> Path:
    """Return the folder that holds ``playbooks/``, ``templates/``, ``models_manifest/`` and so on.

    It is the packaged ``_data`` folder if it exists (an installed wheel), else the checkout.
    """
    packaged = _PACKAGE / "_data"
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent


def playbooks() -> Path:
    """Return the folder of playbooks and roles."""
    return data_root() / "playbooks"


def templates() -> Path:
    """Return the folder of Jinja2 templates."""
    return data_root() / "templates"


def catalogue() -> Path:
    """Return the folder of model cards, releases and targets that ships with this version."""
    return data_root() / "models_manifest"


def verification_suite() -> Path:
    """Return the folder of the testinfra suite that ships to sites."""
    return data_root() / "tests" / "verification"


def vectordb_source() -> Path:
    """Return the source tree of the host-side vector DB service."""
    return data_root() / "services" / "vectordb"
