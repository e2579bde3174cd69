"""How hosts are reached."""

from __future__ import annotations

from pathlib import Path

import plan_factories as make

from bastide.schema.site import SERVING, Group
from bastide.verify.access import Access, ssh_config


def test_hosts_are_reached_by_key_and_known_by_theirs() -> None:
    site = make.make_site({"front": (Group.GATEWAY, Group.VECTORDB), "back": SERVING[:2]})
    text = ssh_config(site, Path("/site"))
    assert "Host front\n  HostName 10.0.0.11\n" in text
    assert "Host back\n  HostName 10.0.0.12\n" in text
    for line in ('IdentityFile "/keys/id"', "StrictHostKeyChecking yes", "BatchMode yes"):
        assert line in text


def test_relative_paths_are_the_site_folders() -> None:
    site = make.make_site()
    ssh = site.ssh.replace(private_key="keys/id", known_hosts="known hosts")
    text = ssh_config(site.replace(ssh=ssh), Path("/site"))
    assert 'IdentityFile "/site/keys/id"' in text
    assert 'UserKnownHostsFile "/site/known hosts"' in text


def test_keys_are_not_shown() -> None:
    access = Access(("host1",), "", sudo=False, api_key="bst_secret", read_only_api_key="bst_ro")
    assert "bst_" not in repr(access)
