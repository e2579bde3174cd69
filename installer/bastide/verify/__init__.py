"""Proves that a site is what it should be: runs the suite in ``tests/verification``, reports."""
