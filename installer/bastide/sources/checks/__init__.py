"""Type-aware checks: whether a file is what its name and the manifest say; bounded and pure reads.

Each check reads headers and tables of a file whose digest is right, and returns findings. None of
them runs, loads or unpacks anything, and no input makes them raise: a file that cannot be
understood is a finding itself.
"""
