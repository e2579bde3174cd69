"""One isolated installation: its description, its secrets, its certificates.

``config`` reads and writes ``site.yaml``; ``pki`` issues certificates; ``vault`` encrypts;
``secrets`` keeps the site's keys in the vault and renews its certificates; ``create`` makes a new
site folder.
"""
