"""What lies on a host: everything for a comparison, Bastide's own places for a plan."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import pytest
from bastide_host import inventory as agent_inventory
from bastide_host.host import Paths
from bastide_host.inventory import inventory
from bastide_host.places import places, secret_fingerprints
from bastide_host.prepare import make_folders

from bastide.schema.inventory import Entry, read_inventory


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    for folder in ("etc/apt/sources.list.d", "usr/bin", "var/lib/dpkg/info", "opt", "proc/net"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tmp_path / "usr/bin/env").write_text("env")
    (tmp_path / "var/lib/dpkg/info/coreutils.list").write_text("/.\n/bin/env\n/etc\n")
    make_folders(Paths(tmp_path))
    return Paths(tmp_path)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_every_file_with_its_content_rights_and_package(host: Paths) -> None:
    (host.root / "etc/link").symlink_to("passwd")
    (host.root / "usr/bin/env").chmod(0o755)
    found = read_inventory(inventory(host))
    owner = f"{os.getuid()}:{os.getgid()}"
    assert found.files["/usr/bin/env"] == Entry("f", "0755", owner, digest("env"), "coreutils")
    assert found.files["/etc/link"].content == "passwd"
    assert found.files["/etc/bastide/secrets"][:2] == ("d", "0700")
    assert found.users == {"root": "0:0:root:/root:/bin/bash"}
    assert not any(path.startswith("/proc") for path in found.files)


def test_large_files_are_told_apart_by_size_and_time(
    host: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_inventory, "HASH_LIMIT", 2)
    state = (host.root / "usr/bin/env").stat()
    entry = read_inventory(inventory(host)).files["/usr/bin/env"]
    assert entry.content == f"3 {state.st_mtime_ns}"


def test_a_large_answer_is_packed(host: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read_inventory(inventory(host))
    monkeypatch.setattr(agent_inventory, "PACK_FROM", 10)
    answer = inventory(host)
    assert set(answer) == {"packed"}
    assert read_inventory(answer).files == plain.files


def test_places_say_what_is_there(host: Paths) -> None:
    host.current.symlink_to("generations/3")
    (host.opt / "bin/bastide_host.py").write_text("agent")
    (host.root / "etc/apt/sources.list").write_text("deb http://deb.debian.org/debian x main\n")
    found = places(host)
    assert found["/etc/bastide/secrets"] == "folder 0700"
    assert found["/opt/bastide/current"] == "link generations/3"
    assert found["/opt/bastide/bin/bastide_host.py"] == digest("agent")
    assert found["/etc/apt/sources.list"] == "internet source"
    assert "/etc/sysusers.d/bastide.conf" not in found


def test_secrets_leave_only_as_salted_fingerprints(host: Paths) -> None:
    key = host.secrets / "api_key"
    key.write_text("s3cret")
    key.chmod(0o600)
    assert secret_fingerprints(host, {}) == {}
    expected = hmac.new(b"salt", b"s3cret", hashlib.sha256).hexdigest()[:16]
    assert secret_fingerprints(host, {"salt": "salt"}) == {
        str("/" / key.relative_to(host.root)): expected
    }
    assert digest("s3cret")[:16] not in str(secret_fingerprints(host, {"salt": "salt"}))
    key.chmod(0o644)
    assert list(secret_fingerprints(host, {"salt": "salt"}).values()) == ["mode 0644"]
