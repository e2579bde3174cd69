"""Disposable, air-gapped systemd hosts on the operator's own machine, to rehearse on.

``manager`` is the way in: ``up``, ``down``, ``status``, ``kill`` and ``exec_argv``. Each lab is a
set of network namespaces that no route leaves, with one systemd-nspawn host in each of them.
"""
