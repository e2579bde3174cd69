"""The content-addressed store on the control node, and the import that fills it."""

from bastide.store.local import Store, StoredBundle

__all__ = ["Store", "StoredBundle"]
