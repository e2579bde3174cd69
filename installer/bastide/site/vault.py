"""Encryption of a site's secrets with Ansible Vault, and where its password is.

The file's own header names the password that opens it (Ansible's vault id), so that two sites of
one name never mix up their passwords: ``$ANSIBLE_VAULT;1.2;AES256;<label>`` is opened by
``<home>/vault/<label>.txt``. ``ansible-vault view --vault-id LABEL@FILE`` reads it as well.

Ansible is imported inside the functions: it takes half a second that most commands don't need.
"""

from __future__ import annotations

import os
from pathlib import Path

from bastide.errors import ConfigError
from bastide.layout import Home
from bastide.site.codes import SECRETS_DAMAGED, VAULT_PASSWORD

PASSWORD_FILE_VARIABLE = "BASTIDE_VAULT_PASSWORD_FILE"  # noqa: S105 - a variable's name
_HEADER = b"$ANSIBLE_VAULT;"


def seal(plain: bytes, password: str, label: str) -> bytes:
    """Return ``plain`` encrypted under ``password``, with ``label`` readable in its header."""
    from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: PLC0415 - see above

    sealed: bytes = VaultLib().encrypt(plain, VaultSecret(password.encode()), label)
    return sealed


def unseal(sealed: bytes, password: str, *, where: str) -> bytes:
    """Return what ``sealed`` holds.

    Args:
        sealed: A whole Vault file.
        password: The password it was sealed with.
        where: The file's path, for the message.

    Raises:
        ConfigError: It is not a Vault file, was damaged, or has another password.
    """
    from ansible.errors import AnsibleError  # noqa: PLC0415 - see above
    from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: PLC0415 - see above

    label = label_of(sealed, where=where)
    try:
        plain: bytes = VaultLib([(label, VaultSecret(password.encode()))]).decrypt(sealed)
    except (AnsibleError, ValueError) as error:
        raise ConfigError(
            f"{where} does not open with the vault password: wrong password or damaged file",
            code=SECRETS_DAMAGED,
            hint=f"point {PASSWORD_FILE_VARIABLE} at the file with the password for '{label}'",
        ) from error
    return plain


def label_of(sealed: bytes, *, where: str) -> str:
    """Return the label in the header of a Vault file.

    Raises:
        ConfigError: It has no such header.
    """
    header = sealed.split(b"\n", 1)[0].strip().split(b";")
    if not sealed.startswith(_HEADER) or len(header) not in (3, 4):
        raise ConfigError(
            f"{where} is not an Ansible Vault file: its first line is not {_HEADER.decode()}…",
            code=SECRETS_DAMAGED,
            hint="restore the file from a backup of the site folder",
        )
    return header[3].decode("ascii", "replace") if len(header) == 4 else "default"


def password_file(home: Home, label: str) -> Path:
    """Return the file of a vault password: ``$BASTIDE_VAULT_PASSWORD_FILE``, or the home's own."""
    override = os.environ.get(PASSWORD_FILE_VARIABLE)
    return Path(override) if override else home.vault_passwords / f"{Path(label).name}.txt"


def read_password(home: Home, label: str) -> str:
    """Return the vault password for ``label``.

    Raises:
        ConfigError: Its file cannot be read or is empty.
    """
    return read_password_file(password_file(home, label))


def read_password_file(path: Path) -> str:
    """Return the vault password in ``path``.

    Raises:
        ConfigError: It cannot be read or is empty.
    """
    try:
        password = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"the vault password file {path} cannot be read: {reason}",
            code=VAULT_PASSWORD,
            hint=f"restore it, or point {PASSWORD_FILE_VARIABLE} at it; "
            "without it the site's secrets cannot be opened",
        ) from error
    if not password:
        raise ConfigError(
            f"the vault password file {path} is empty",
            code=VAULT_PASSWORD,
            hint=f"restore it, or point {PASSWORD_FILE_VARIABLE} at the right file",
        )
    return password
