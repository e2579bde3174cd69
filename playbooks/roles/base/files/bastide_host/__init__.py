"""The host agent: everything that Bastide does on a host, with the standard library alone.

It runs as root on Python 3.9 or newer. The lookup plugin ``host_agent`` joins these modules into
the one file ``bastide_host.py``. Ansible puts that into ``/opt/bastide/bin`` and calls it, a few
coarse commands a run; preflight feeds it to ``python3 -`` instead, so that nothing stays behind.
Every command prints one JSON object: ``{"changed": …, …}``, or ``{"error": {"code", "message",
"hint"}}`` with exit code 1.
"""
