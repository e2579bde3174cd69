"""A site and a release → files: each host's tree, and the folder that ansible-runner works in."""
