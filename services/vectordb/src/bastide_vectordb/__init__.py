"""Qdrant's REST API over Qdrant Edge."""
