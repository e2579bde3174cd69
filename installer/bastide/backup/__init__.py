"""Backups: sealed to a key that is kept elsewhere, signed by the site, proved by a restore."""
