"""The frozen values that pass between packages, and the files that people edit; pure."""
