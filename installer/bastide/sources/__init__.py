"""Where artifacts come from: one module a source kind, all through one fetcher and cache."""
