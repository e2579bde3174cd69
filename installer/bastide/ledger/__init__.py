"""The append-only, hash-chained record of every operation on this control node."""
