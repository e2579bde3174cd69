"""Conversions on the connected side: what a source hands out → what hosts load."""
