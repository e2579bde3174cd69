"""The stable codes of errors about a site and its secrets (``docs/reference/errors.md``)."""

SITE_WRONG = "BAS-2020"
SITE_EXISTS = "BAS-2021"
HOST_OPTION = "BAS-2022"
SECRETS_MISSING = "BAS-2023"
VAULT_PASSWORD = "BAS-2024"  # noqa: S105 - a code, not a password
SECRETS_DAMAGED = "BAS-2025"
CERTIFICATE_WRONG = "BAS-2026"
NOT_IMPORTED = "BAS-2027"
SSH_FILES = "BAS-2029"
SITE_UNWRITABLE = "BAS-2035"
