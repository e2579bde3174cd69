"""Qdrant's REST API over Qdrant Edge: one small service, one engine process a collection."""

__version__ = "0.1.0"
