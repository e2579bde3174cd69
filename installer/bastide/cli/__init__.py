"""The command line: one module a verb; parsing and printing only."""
