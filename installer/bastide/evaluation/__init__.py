"""Runs models of one's own on this machine, before one is chosen, and scores what they answer.

The engine is not a dependency of Bastide: it is run by a Python that has it (`engine`). Scoring is
pure and apart from running (`scoring`), so that other gates can use it.
"""
