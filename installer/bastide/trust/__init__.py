"""Who says that a bundle is what it claims: pure decisions over bytes."""
