"""Rehearsal: the site's plan on lab hosts, before it touches production."""
