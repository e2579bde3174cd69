"""What programs print, read right; garbage does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.verify.observe import (
    Listening,
    exposure,
    leaves_the_site,
    listening,
    package_sources,
    properties,
)
from bastide.verify.plugin import host_name

SS = """\
LISTEN 0      4096      127.0.0.1:8404 0.0.0.0:* users:(("haproxy",pid=519,fd=7))
LISTEN 0      128         0.0.0.0:22   0.0.0.0:* users:(("sshd",pid=33,fd=3))
LISTEN 0      128               *:9100       *:*
LISTEN 0      128            [::]:22      [::]:* users:(("sshd",pid=33,fd=4))
LISTEN 0      128  127.0.0.53%lo:53   0.0.0.0:*
LISTEN 0      128           [::1]:631     [::]:*
"""


def test_sockets_are_read() -> None:
    found = listening(SS)
    assert Listening(8404, "127.0.0.1", "haproxy") in found
    assert Listening(22, "::", "sshd") in found
    assert Listening(53, "127.0.0.53") in found
    assert {each.port for each in found if each.everywhere} == {22, 9100}
    assert {each.port for each in found if each.loopback} == {8404, 53, 631}


@given(st.text(max_size=200))
def test_other_lines_are_no_sockets(text: str) -> None:
    assert listening(text.replace("LISTEN", "")) == ()


def test_exposure_is_read() -> None:
    text = "✗ PrivateNetwork=  0.5\n\n→ Overall exposure level for bastide-llm.service: 1.1 OK 🙂\n"
    assert exposure(text) == {"bastide-llm.service": 1.1}


def test_properties_are_read_by_unit() -> None:
    text = "Id=a.service\nEnvironment=A=1 B=2\n\nId=b.service\nActiveState=failed\n"
    found = properties(text)
    assert found["a.service"]["Environment"] == "A=1 B=2"
    assert found["b.service"]["ActiveState"] == "failed"


def test_package_sources_are_read() -> None:
    files = {
        "/etc/apt/sources.list": (
            "# deb http://old/debian bookworm main\n"
            "deb [trusted=yes signed-by=/x.gpg] http://deb.debian.org/debian bookworm main # why\n"
            "deb-src file:/srv/repo ./\n"
        ),
        "/etc/apt/sources.list.d/a.sources": (
            "Types: deb\nURIs: https://one.example/debian\n  file:/two\nSuites: x\n\n"
            "Enabled: no\nTypes: deb\nURIs: https://off.example\n"
        ),
    }
    assert [uri for _, uri in package_sources(files)] == [
        "http://deb.debian.org/debian",
        "file:/srv/repo",
        "https://one.example/debian",
        "file:/two",
    ]


@pytest.mark.parametrize(
    ("uri", "leaves"),
    [
        ("file:/var/lib/bastide/repository", False),
        ("cdrom:[Debian]/", False),
        ("http://10.0.0.5/debian", False),
        ("http://[fd00::5]/debian", False),
        ("http://151.101.2.132/debian", True),
        ("https://deb.debian.org/debian", True),
        ("mirror+https://mirrors.example/list", True),
        ("mirror+file:/etc/apt/mirrors", False),
    ],
)
def test_sources_outside_the_site_are_known(uri: str, leaves: bool) -> None:
    assert leaves_the_site(uri) is leaves


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("ssh://host1", "host1"),
        ("ssh://root@10.0.0.11:2222", "10.0.0.11"),
        ("ssh://root@[fd00::11]:22", "fd00::11"),
        ("ansible://host1?force_ansible=True", "host1"),
        ("local", "local"),
    ],
)
def test_hosts_are_named(identifier: str, name: str) -> None:
    assert host_name(identifier) == name
