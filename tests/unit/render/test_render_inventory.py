"""The inventory carries an operator's words to Ansible as data, never as templates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from a_site import a_site
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.errors import ConfigError
from bastide.render.inventory import inventory, resolve
from bastide.schema.site import Site

ROOT = Path("/srv/my site")
EVIL_USER = "{{ lookup('pipe', 'touch /tmp/pwned') }}"


class Unsafe(str):
    __slots__ = ()


class Loader(yaml.SafeLoader):
    """Reads the tag as Ansible does: text that is never evaluated."""


def _unsafe(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Unsafe:
    return Unsafe(loader.construct_scalar(node))


Loader.add_constructor("!unsafe", _unsafe)


def make_site(user: str = "root", key: str = "~/k", known: str = "keys/known") -> Site:
    return a_site(
        {
            "one": ("10.0.0.2", ["llm", "embeddings", "vectordb"]),
            "two": ("10.0.0.3", ["gateway", "llm"]),
        },
        ssh={"user": user, "private_key": key, "known_hosts": known},
    )


def read(content: bytes) -> dict[str, Any]:
    loaded = yaml.load(content, Loader=Loader)  # noqa: S506 - a SafeLoader
    everything: dict[str, Any] = loaded["all"]
    return everything


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []


def test_hosts_groups_and_connection() -> None:
    found = read(inventory(make_site(), ROOT, {"bastide_run_id": "r"}, {"one": {"x": ["y"]}}))
    assert found["hosts"]["one"]["ansible_host"] == "10.0.0.2"
    assert found["hosts"]["one"]["x"] == ["y"]
    assert found["hosts"]["two"]["bastide_service_ports"]["llm"] == 8081
    assert set(found["children"]["llm"]["hosts"]) == {"one", "two"}
    assert found["vars"]["ansible_become"] is False
    arguments = found["vars"]["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in arguments
    assert '"/srv/my site/keys/known"' in arguments
    assert found["vars"]["ansible_ssh_private_key_file"] == str(Path("~/k").expanduser())


def test_another_user_than_root_becomes_root() -> None:
    assert read(inventory(make_site("admin"), ROOT, {}, {}))["vars"]["ansible_become"] is True


@settings(max_examples=50)
@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=("Cs", "Cc"))))
def test_every_text_is_tagged_and_comes_back_as_it_was(text: str) -> None:
    found = read(inventory(make_site(user=text), ROOT, {"a": text}, {"one": {"b": [{"c": text}]}}))
    assert found["vars"]["ansible_user"] == found["vars"]["a"] == text
    assert found["hosts"]["one"]["b"][0]["c"] == text
    assert all(isinstance(each, Unsafe) for each in strings(found))


def test_a_path_that_ssh_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        inventory(make_site(known='a"b'), ROOT, {}, {})
    assert caught.value.code == "BAS-2063"


def test_paths_are_relative_to_the_sites_folder() -> None:
    assert resolve("a/b", Path("/site")) == Path("/site/a/b")
    assert resolve("/a/b", Path("/site")) == Path("/a/b")


def test_ansible_itself_does_not_evaluate_it(tmp_path: Path) -> None:
    """The real inventory parser and templating engine, on a user name that is a command."""
    marker = tmp_path / "pwned"
    user = EVIL_USER.replace("/tmp/pwned", str(marker))
    (tmp_path / "hosts.yml").write_bytes(inventory(make_site(user=user), ROOT, {}, {}))
    argv = [str(Path(sys.executable).parent / "ansible"), "one", "-i", "hosts.yml", "-c", "local"]
    done = subprocess.run(
        [*argv, "-m", "ansible.builtin.debug", "-a", "var=ansible_user"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stderr
    assert "lookup(" in done.stdout
    assert not marker.exists()
