"""What a model needs and how fast it will be: memory, decode and prefill speed. Pure.

docs/sizing.md has the formulas, where they come from, and how far off they were when measured.
"""
