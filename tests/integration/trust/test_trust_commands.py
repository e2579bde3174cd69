"""The trust commands as people on several machines type them."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bastide.cli.main import main

pytestmark = pytest.mark.integration
Make = Callable[..., Path]
Machines = Callable[[str], Any]


@pytest.fixture
def acme(machine: Machines) -> Any:
    publisher = machine("acme")
    publisher("trust", "init", "--publisher", "ACME", "--owner", "alice")
    return publisher


@pytest.fixture
def site(machine: Machines) -> Any:
    return machine("site")


def pin(site: Any, publisher: Any, bundle: Path) -> None:
    told = publisher("trust", "fingerprint")["result"]
    site("trust", "pin", bundle, "--fingerprint", " ".join(told["words"]))


def record(site: Any) -> dict[str, Any]:
    """Return the newest import record's trust."""
    found = [
        json.loads(path.read_bytes()) for path in site.home.glob("store/bundles/*/import.json")
    ]
    newest: dict[str, Any] = max(found, key=lambda each: each["sequence"])
    trust: dict[str, Any] = newest["trust"]
    return trust


def test_from_the_first_key_to_the_record_of_an_import(
    acme: Any, site: Any, make_bundle: Make
) -> None:
    bundle = make_bundle()
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    site.refuses("BAS-4010", "import", bundle)
    site.refuses("BAS-4011", "trust", "pin", bundle, "--fingerprint", "0" * 64)
    acme("trust", "sign", bundle)
    assert all(path.read_bytes() == content for path, content in before.items())
    pin(site, acme, bundle)
    result = site("import", bundle)["result"]
    assert result["trust"]["signed"]
    proof = record(site)["proof"]
    assert (proof["root"], proof["publisher"], proof["age_days"]) == (1, "ACME", 0)
    assert proof["versions"] == {"timestamp": 1, "snapshot": 1, "targets": 1}
    assert {role for role, ids in proof["signers"].items() if ids} >= {"targets", "timestamp"}
    shown = site("trust", "status")["result"]["trusts"]
    assert shown["accepted"] == {"timestamp": 1, "snapshot": 1, "targets": 1}
    assert site("bundle", "verify", bundle)["result"]["trust"]["signed"]


def test_the_operator_types_the_fingerprint(acme: Any, site: Any, make_bundle: Make) -> None:
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    error = site.refuses("BAS-4021", "trust", "pin", bundle, "--fingerprint", "0" * 64)
    assert "0000 0000" in error["message"]
    claimed = site("trust", "fingerprint", bundle)["result"]
    assert claimed["words"] == acme("trust", "fingerprint")["result"]["words"]
    assert claimed["groups"] not in error["message"]
    assert not (site.home / "trust" / "site.json").exists()
    site.refuses("BAS-4024", "trust", "pin", bundle, "--fingerprint", "zoo " * 24)
    site.refuses("BAS-4024", "trust", "pin", bundle)  # no terminal
    pin(site, acme, bundle)
    pin(site, acme, bundle)  # again: nothing changes


def test_another_publisher_needs_a_reason(
    acme: Any, site: Any, machine: Machines, make_bundle: Make
) -> None:
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    other = machine("other")
    other("trust", "init", "--development")
    theirs = make_bundle("starter-2026.12.0")
    other("trust", "sign", theirs)
    site.refuses("BAS-4014", "import", theirs)
    told = other("trust", "fingerprint")["result"]["fingerprint"]
    arguments = ("trust", "pin", theirs, "--fingerprint", told)
    site.refuses("BAS-4022", *arguments)
    site(*arguments, "--replace", "ACME was bought")
    kept = json.loads((site.home / "trust" / "site.json").read_bytes())
    assert kept["pin"]["reason"] == "ACME was bought"
    assert kept["earlier"][0]["fingerprint"] == kept["pin"]["replaces"]
    said = site("import", theirs)["result"]["trust"]["statement"]
    assert "not for production" in said


def test_private_keys_are_encrypted_and_no_argument_takes_a_passphrase(acme: Any) -> None:
    keys = sorted((acme.publisher / "keys").glob("*.pem"))
    assert len(keys) == 2
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert b"ENCRYPTED" in key.read_bytes()
        with pytest.raises(TypeError):
            load_pem_private_key(key.read_bytes(), None)
    group: Any = main.get_command(Context(main), "trust")
    for name in group.list_commands(Context(group)):
        command = group.get_command(Context(group), name)
        assert "passphrase" not in {p.name for p in command.params}


def test_a_wrong_passphrase_and_none_are_explained(
    acme: Any, make_bundle: Make, tmp_path: Path
) -> None:
    bundle, file = make_bundle(), tmp_path / "passphrase"
    file.write_text("wrong\n")
    acme.refuses("BAS-4031", "trust", "sign", bundle, "--passphrase-file", file)
    acme.refuses("BAS-4031", "trust", "sign", bundle, "--passphrase-file", tmp_path / "none")
    environment = {"BASTIDE_HOME": str(acme.home), "BASTIDE_TRUST_PASSPHRASE": None}
    said = CliRunner().invoke(main, ["trust", "sign", str(bundle)], env=environment)
    assert said.exit_code == 4
    assert "BASTIDE_TRUST_PASSPHRASE" in said.stderr
    assert not (bundle / "metadata").exists()


def test_a_short_passphrase_makes_no_key(machine: Machines, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("short\n")
    machine("x").refuses("BAS-4031", "trust", "init", "--passphrase-file", file)
    assert not machine("x").publisher.joinpath("settings.json").exists()


@pytest.fixture
def board(machine: Machines, tmp_path: Path) -> tuple[Any, Any, Path]:
    """Return a publisher whose root and list need Alice and Bob, Bob's machine, and a stick."""
    alice, bob = machine("alice"), machine("bob")
    stick = tmp_path / "request.json"
    two = ("--threshold", "root=2", "--threshold", "targets=2")
    begun = alice("trust", "init", "--publisher", "ACME", "--owner", "alice", *two)["result"]
    assert not begun["in_force"]
    made = bob("trust", "new-key", "--owner", "bob", "--algorithm", "ecdsa-p256")["result"]
    roles = ("--role", "root", "--role", "targets")
    alice("trust", "add-key", "--public", made["public_file"], *roles)
    sign_elsewhere(alice, bob, stick)
    assert alice("trust", "status")["result"]["publishes"]["root"] == 1
    return alice, bob, stick


def sign_elsewhere(here: Any, there: Any, stick: Path) -> dict[str, Any]:
    here("trust", "export", stick)
    there("trust", "sign", "--request", stick, "--yes")
    answer: dict[str, Any] = here("trust", "merge", stick)["result"]
    return answer


def test_two_people_on_two_machines(
    board: tuple[Any, Any, Path], site: Any, make_bundle: Make
) -> None:
    alice, bob, stick = board
    bundle = make_bundle()
    error = alice.refuses("BAS-4033", "trust", "sign", bundle)
    assert "1 of 2" in error["message"]
    assert not (bundle / "metadata").exists()
    waits = alice("trust", "status")["result"]["publishes"]["drafts"]
    assert [each["role"] for each in waits] == ["targets"]
    said = alice("trust", "export", stick)["result"]["says"]
    assert any("starter-2026.11.0" in line for line in said)
    sign_elsewhere(alice, bob, stick)
    alice("trust", "sign", bundle)
    pin(site, alice, bundle)
    assert len(site("import", bundle)["result"]["trust"]["proof"]["signers"]["targets"]) == 2
    bob.refuses("BAS-4030", "trust", "sign", bundle)
    alice.refuses("BAS-4034", "trust", "export", stick)  # nothing waits


def test_a_request_is_shown_before_it_is_signed(
    board: tuple[Any, Any, Path], make_bundle: Make
) -> None:
    alice, bob, stick = board
    alice.refuses("BAS-4033", "trust", "sign", make_bundle())
    alice("trust", "export", stick)
    before = stick.read_bytes()
    said = bob.run("trust", "sign", "--request", stick, typed="n\n")
    assert said.exit_code == 4
    assert "starter-2026.11.0/debian12-x86_64" in said.stderr
    assert stick.read_bytes() == before


def test_a_request_that_was_changed_is_refused(
    board: tuple[Any, Any, Path], machine: Machines, make_bundle: Make, tmp_path: Path
) -> None:
    alice, bob, stick = board
    alice.refuses("BAS-4033", "trust", "sign", make_bundle())
    alice("trust", "export", stick)
    original = stick.read_bytes()
    stick.write_bytes(original.replace(b"starter-2026.11.0", b"starter-2026.11.9"))
    bob("trust", "sign", "--request", stick, "--yes")
    alice.refuses("BAS-4034", "trust", "merge", stick)
    stick.write_bytes(original)
    carol = machine("carol")
    carol("trust", "new-key", "--owner", "carol")
    carol.refuses("BAS-4034", "trust", "sign", "--request", stick, "--yes")  # not her role
    (tmp_path / "junk").write_text("{}")
    alice.refuses("BAS-4034", "trust", "merge", tmp_path / "junk")


def test_rotation_and_revocation_travel_with_the_next_bundle(
    board: tuple[Any, Any, Path], machine: Machines, site: Any, make_bundle: Make
) -> None:
    alice, bob, stick = board
    first = make_bundle("starter-2026.10.0")
    alice.refuses("BAS-4033", "trust", "sign", first)
    sign_elsewhere(alice, bob, stick)
    alice("trust", "sign", first)
    pin(site, alice, first)
    site("import", first)
    # Carol takes Bob's place: the old root's keys, Bob's among them, must agree.
    carol = machine("carol")
    made = carol("trust", "new-key", "--owner", "carol")["result"]
    alice(
        "trust", "add-key", "--public", made["public_file"], "--role", "root", "--role", "targets"
    )
    roles = alice("trust", "status")["result"]["publishes"]["roles"]
    bobs = next(k for k in roles[0]["keys"] if k.startswith("bob")).split()[1]
    assert not alice("trust", "revoke", bobs)["result"]["in_force"]
    alice("trust", "export", stick)
    bob("trust", "sign", "--request", stick, "--yes")
    carol("trust", "sign", "--request", stick, "--yes")
    alice("trust", "merge", stick)
    assert alice("trust", "status")["result"]["publishes"]["root"] == 2
    second = make_bundle("starter-2026.12.0")
    alice.refuses("BAS-4033", "trust", "sign", second)
    alice("trust", "export", stick)
    bob.refuses("BAS-4034", "trust", "sign", "--request", stick, "--yes")  # revoked
    sign_elsewhere(alice, carol, stick)
    alice("trust", "sign", second)
    site("import", second)
    assert site("trust", "status")["result"]["trusts"]["root"] == 2
    site.refuses("BAS-4012", "import", first)


def test_a_key_of_the_machine_is_rotated_by_one_command(
    acme: Any, site: Any, make_bundle: Make
) -> None:
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    roles = acme("trust", "status")["result"]["publishes"]["roles"]
    builder = roles[-1]["keys"][0].split()[1]
    changed = acme("trust", "rotate", builder)["result"]
    assert (changed["version"], changed["in_force"]) == (2, True)
    acme("trust", "sign", bundle)
    site("import", bundle)
    assert record(site)["proof"]["root"] == 2


def test_the_last_key_of_a_role_cannot_be_taken_away(acme: Any) -> None:
    roles = acme("trust", "status")["result"]["publishes"]["roles"]
    alice = roles[0]["keys"][0].split()[1]
    acme.refuses("BAS-4032", "trust", "revoke", alice)
    acme.refuses("BAS-4032", "trust", "revoke", "ffff")
    assert acme("trust", "status")["result"]["publishes"]["drafts"] == []
    acme.refuses("BAS-4030", "trust", "init")


def test_going_back_is_possible_on_the_record_only(acme: Any, site: Any, make_bundle: Make) -> None:
    old, new, never = (make_bundle(f"starter-2026.{month}.0") for month in (10, 12, 11))
    acme("trust", "sign", old)
    pin(site, acme, old)
    site("import", old)
    acme("trust", "sign", never)
    acme("trust", "sign", new)
    site("import", new)
    site.refuses("BAS-4014", "import", old)
    site.refuses("BAS-4014", "import", never, "--accept-older", "why not")
    state = (site.home / "trust" / "site.json").read_bytes()
    site("import", old, "--accept-older", "the new engine is slower")
    assert record(site)["overrides"] == [{"what": "older", "reason": "the new engine is slower"}]
    assert (site.home / "trust" / "site.json").read_bytes() == state
    site.refuses("BAS-4014", "import", old)
    site.refuses("BAS-4000", "import", old, "--accept-older", " ")


def test_a_failed_import_leaves_the_state_alone(acme: Any, site: Any, make_bundle: Make) -> None:
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    state = (site.home / "trust" / "site.json").read_bytes()
    blob = next((bundle / "sha256").rglob("*/*"))
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(b"x" * len(content))
    assert site("import", bundle, expect=3)["error"]["code"] == "BAS-3103"
    assert (site.home / "trust" / "site.json").read_bytes() == state
    blob.write_bytes(content)
    site("import", bundle)
    assert (site.home / "trust" / "site.json").read_bytes() != state


def test_a_kill_before_the_state_is_written_costs_nothing(
    acme: Any, site: Any, make_bundle: Make
) -> None:
    bundle, state = make_bundle(), site.home / "trust" / "site.json"
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    before = state.read_bytes()
    site("import", bundle)
    after = state.read_bytes()
    state.write_bytes(before)  # as it is when the import's record was the last write
    site("import", bundle)
    assert state.read_bytes() == after


def test_stale_signatures_are_taken_on_the_record_or_made_anew(
    acme: Any, site: Any, make_bundle: Make
) -> None:
    bundle, settings = make_bundle(), acme.publisher / "settings.json"
    days = json.loads(settings.read_bytes())
    settings.write_text(json.dumps({**days, "days": {**days["days"], "timestamp": 0}}))
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    error = site.refuses("BAS-4020", "import", bundle)
    assert "timestamp" in error["message"]
    assert "--accept-stale" in error["hint"]
    result = site("import", bundle, "--accept-stale", "no courier before March")["result"]
    assert "no courier before March" in result["trust"]["statement"]
    assert record(site)["overrides"] == [{"what": "stale", "reason": "no courier before March"}]
    settings.write_text(json.dumps(days))
    before = (bundle / "bundle.json").stat().st_mtime_ns
    acme("trust", "sign", bundle)
    assert (bundle / "bundle.json").stat().st_mtime_ns == before
    site("import", bundle)
    assert record(site)["overrides"] == []


def test_a_stranger_in_the_metadata_folder_is_refused(
    acme: Any, site: Any, make_bundle: Make
) -> None:
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    (bundle / "metadata" / "9.targets.json").write_text("{}")
    error = site("import", bundle, expect=3)["error"]
    assert error["problems"][0]["where"] == "metadata/9.targets.json"


def test_a_build_signs_once(
    acme: Any, make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASTIDE_CACHE", str(tmp_path / "cache"))
    lock = make_bundle() / "lock.json"
    arguments = ("bundle", "build", "--lock", lock, "--out", tmp_path / "out")
    assert acme(*arguments)["result"]["signing"]["signed"]
    before = {p.name: p.read_bytes() for p in (tmp_path / "out" / "metadata").iterdir()}
    assert acme(*arguments)["result"]["signing"]["signed"]
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "out" / "metadata").iterdir()}
    assert acme("bundle", "verify", tmp_path / "out")["result"]["trust"]["signed"]


def test_damage_to_what_is_kept_is_named(acme: Any, site: Any, make_bundle: Make) -> None:
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    pin(site, acme, bundle)
    (site.home / "trust" / "site.json").write_text("{")
    site.refuses("BAS-4023", "import", bundle)
    (acme.publisher / "metadata" / "1.targets.json").unlink()
    acme.refuses("BAS-4035", "trust", "sign", make_bundle("starter-2026.12.0"))
