"""Recovery keys: a pair whose public half seals backups and whose private half is kept elsewhere.

Both are files as `age` has them, so that a backup opens without Bastide, too: a recipients file in
the site's folder, and an identity file, which may be sealed with a passphrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.backup.codes import BAD_KEY, KEY_EXISTS, NO_RECIPIENT
from bastide.errors import ConfigError
from bastide.host.files import write_atomic

_SIGNER = re.compile(r"^# signer: ([A-Za-z0-9+/]{40,60}={0,2})$", re.MULTILINE)
_AGE_FILE = b"age-encryption.org/v1"
_LIMIT = 1 << 16  # bytes; an identity file has a few hundred


@dataclass(frozen=True, repr=False)
class RecoveryKey:
    """The private half, as it was read: keep it in memory, never print or log it.

    Args:
        identities: What opens backups.
        signer: The site's public receipt key, as the key's file names it; empty if it does not.
    """

    identities: tuple[Any, ...]
    signer: str = ""

    def __repr__(self) -> str:
        return "RecoveryKey(…)"

    @property
    def recipients(self) -> tuple[str, ...]:
        """The public halves."""
        return tuple(str(each.to_public()) for each in self.identities)


def make_recovery_key(path: Path, site: str, signer: str, passphrase: str = "") -> str:
    """Write a new private half to ``path``, mode 0600, and return the public half.

    Args:
        path: A new file, best on a medium that leaves the site.
        site: The site's name, for whoever finds the file.
        signer: The site's public receipt key: a restore on a new machine knows the site by it.
        passphrase: Seals the file; empty: it lies open.

    Raises:
        ConfigError: There is such a file already, or it cannot be written.
    """
    import pyrage  # noqa: PLC0415 - slow to load

    if path.exists():
        raise ConfigError(
            f"{path} exists: a recovery key is never written over",
            code=KEY_EXISTS,
            hint="choose another name; without an old key, the backups sealed to it stay shut",
        )
    made = pyrage.x25519.Identity.generate()
    public = str(made.to_public())
    text = (
        f"# recovery key of the Bastide site {site}: keep it off the site\n"
        f"# public key: {public}\n# signer: {signer}\n{made}\n"
    ).encode()
    content = pyrage.passphrase.encrypt(text, passphrase) if passphrase else text
    try:
        write_atomic(path, content, mode=0o600)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", code=BAD_KEY, hint="choose another place"
        ) from error
    return public


def is_sealed(path: Path) -> bool:
    """Return whether a recovery key's file wants a passphrase."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_AGE_FILE)) == _AGE_FILE
    except OSError:
        return False


def read_recovery_key(path: Path, passphrase: str = "") -> RecoveryKey:
    """Return the private half in a file.

    Args:
        path: The file that `bastide backup init` or `age-keygen` wrote.
        passphrase: What opens it, if it is sealed.

    Raises:
        ConfigError: It cannot be read, is sealed and does not open, or holds no identity.
    """
    import pyrage  # noqa: PLC0415 - slow to load

    try:
        with path.open("rb") as stream:
            content = stream.read(_LIMIT)
        if content.startswith(_AGE_FILE):
            content = pyrage.passphrase.decrypt(content, passphrase)
        text = content.decode()
        lines = [line.strip() for line in text.splitlines()]
        secret = [line for line in lines if line.startswith("AGE-SECRET-KEY-")]
        identities = tuple(pyrage.x25519.Identity.from_str(line) for line in secret)
    except OSError as error:
        raise _bad(path, str(error.strerror or error)) from error
    except (pyrage.DecryptError, UnicodeDecodeError) as error:
        raise _bad(path, "it does not open with this passphrase") from error
    except pyrage.IdentityError as error:
        raise _bad(path, "it holds no valid identity") from error
    if not identities:
        raise _bad(path, "it holds no identity of age (AGE-SECRET-KEY-…)")
    signer = _SIGNER.search(text)
    return RecoveryKey(identities, signer[1] if signer else "")


def _bad(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the recovery key {path} cannot be used: {why}",
        code=BAD_KEY,
        hint="name the file that `bastide backup init` wrote (--key), and its passphrase if it "
        "has one",
    )


def parse_recipients(lines: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the public keys in the lines of a recipients file, comments left out.

    Raises:
        ConfigError: One is none of age's.
    """
    import pyrage  # noqa: PLC0415 - slow to load

    found = []
    for line in (each.strip() for each in lines):
        if not line or line.startswith("#"):
            continue
        try:
            found.append(str(pyrage.x25519.Recipient.from_str(line)))
        except pyrage.RecipientError as error:
            raise ConfigError(
                f"{where}: {line[:80]!r} is no public key of age (age1…)",
                code=BAD_KEY,
                hint="a public key is what `bastide backup init` or `age-keygen -y` prints",
            ) from error
    return tuple(dict.fromkeys(found))


def read_recipients(path: Path) -> tuple[str, ...]:
    """Return the public keys that a site's backups are sealed to.

    Raises:
        ConfigError: There are none, or the file is wrong.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", code=BAD_KEY) from error
    found = parse_recipients(lines, str(path))
    if not found:
        raise ConfigError(
            f"{path} names no recovery key: a backup would open for nobody",
            code=NO_RECIPIENT,
            hint="make one with `bastide backup init --key-out FILE`, and keep FILE off the site",
        )
    return found


def add_recipients(path: Path, public: Iterable[str]) -> tuple[str, ...]:
    """Add public keys to a site's recipients file; return all that it names then.

    Raises:
        ConfigError: The file that is there is wrong.
    """
    old = path.read_text().splitlines() if path.exists() else []
    found = tuple(dict.fromkeys([*parse_recipients(old, str(path)), *public]))
    head = "# Backups of this site are sealed to these public keys (age); one a line.\n"
    write_atomic(path, (head + "".join(f"{each}\n" for each in found)).encode())
    return found
