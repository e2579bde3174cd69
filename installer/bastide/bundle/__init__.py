"""Bundles: a release resolved to a lock, and the content-addressed folder built from it."""
