"""Bastide: install, prove and upgrade a private generative-AI stack behind an air gap."""

from importlib.metadata import version

__version__ = version("bastide")
