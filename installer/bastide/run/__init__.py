"""Carries a plan out: ansible-runner, the depot that hosts pull from, journal, log and summary."""
