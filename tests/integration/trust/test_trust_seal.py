"""An import opens no socket: the kernel kills a process that tries, and a control proves it."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="unknown machine"),
]

# A seccomp filter (man 2 seccomp) that kills the process at its first socket(2).
SEAL = """
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
KILL, ALLOW = 0x80000000, 0x7FFF0000
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, SOCKET), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
filter = Filter(len(steps), ctypes.addressof(program))
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0  # PR_SET_SECCOMP, filter
"""
BASTIDE = "from bastide.cli.main import main; main()"


def sealed(code: str, *arguments: object, home: Path | None = None) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SEAL + code, *(str(each) for each in arguments)],
        check=False,
        capture_output=True,
        env={**os.environ, **({"BASTIDE_HOME": str(home)} if home else {})},
    )
    return done.returncode


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        # Why python-tuf's own client is not used: loading it asks the kernel for a socket.
        "import tuf.ngclient",
    ],
)
def test_the_seal_trips(code: str) -> None:
    assert sealed(code) == -signal.SIGSYS


def test_the_seal_lets_files_pass() -> None:
    assert (
        sealed("import tuf.api.metadata, bastide.trust.client; print(open('/etc/hostname'))") == 0
    )


def test_verify_pin_and_import_open_no_socket(
    machine: Callable[[str], Any], make_bundle: Callable[..., Path]
) -> None:
    publisher, site, bundle = machine("acme"), machine("site"), make_bundle()
    publisher("trust", "init", "--development")
    publisher("trust", "sign", bundle)
    told = publisher("trust", "fingerprint")["result"]["fingerprint"]
    home = site.home
    assert sealed(BASTIDE, "trust", "pin", bundle, "--fingerprint", told, home=home) == 0
    assert sealed(BASTIDE, "bundle", "verify", bundle, home=home) == 0
    assert sealed(BASTIDE, "import", bundle, home=home) == 0
    assert site("trust", "status")["result"]["trusts"]["accepted"]["timestamp"] == 1
