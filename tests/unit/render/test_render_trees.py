"""Templates take no value that could change a file's meaning; trees are the same bytes always."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from a_site import a_site
from hypothesis import given
from hypothesis import strategies as st

from bastide import resources
from bastide.errors import ConfigError
from bastide.render.engine import TemplateFolder, UnsafeValueError, to_json, to_systemd, to_yaml
from bastide.render.trees import TreeFile, TreeList, render_trees
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.base import Value
from bastide.schema.site import Site

EVIL = (
    "a b",
    "a\nExecStartPre=/bin/sh",
    "{{ lookup('pipe', 'id') }}",
    'x" bad',
    "a#b",
    "a;b",
    "$HOME",
    "%h",
    "a'b",
    "\u2028x",
    "é",
    "a\x00b",
)


class FakeRelease(Value):
    name: str = "starter"


def make_site(**changes: Any) -> Site:
    hosts = {
        "big": ("10.0.0.2", ["llm", "embeddings", "vectordb"]),
        "edge": ("10.0.0.3", ["gateway", "llm"]),
    }
    return a_site(hosts, **{"name": "try", **changes})


def make_manifest(*names: str) -> Manifest:
    return Manifest(
        release="starter-2026.11.0",
        target="debian12-x86_64",
        lock="0" * 64,
        artifacts=tuple(
            Artifact(
                name=name,
                kind=ArtifactKind.MODEL,
                version="1",
                filename=f"{name}.gguf",
                size=5,
                sha256=f"{number}" * 64,
                platform="any",
                licence="Apache-2.0",
                components=(Component.LLM,),
                source="here",
            )
            for number, name in enumerate(names, start=1)
        ),
    )


def make_templates(root: Path, templates: dict[str, str], entries: list[dict[str, Any]]) -> Path:
    for name, text in templates.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    tree = {"format": "bastide.tree/1", "files": entries}
    (root / "tree.yaml").write_text(json.dumps(tree))
    return root


def render(root: Path, text: str, **context: Any) -> str:
    (root / "t").write_text(text)
    return TemplateFolder(root).render("t", context).decode()


@pytest.mark.parametrize("value", EVIL)
def test_a_bare_value_that_could_be_syntax_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render(tmp_path, "one\nname = [[ name ]]\n", name=value)
    assert "needs a filter" in str(caught.value)
    assert f"{tmp_path / 't'}:2" in str(caught.value)


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}])
def test_a_bare_value_that_is_no_text_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ConfigError):
        render(tmp_path, "[[ value ]]", value=value)


def test_harmless_values_numbers_and_macros_pass(tmp_path: Path) -> None:
    text = "[% macro line(n) %]listen=[[ n ]]\n[% endmacro %][[ line(address) ]][[ line(port) ]]"
    assert (
        render(tmp_path, text, address="[::1]:8443", port=8081)
        == "listen=[::1]:8443\nlisten=8081\n"
    )


def test_ansibles_own_braces_stay(tmp_path: Path) -> None:
    assert render(tmp_path, "{{ a }} {% b %} [[ c ]]", c="d") == "{{ a }} {% b %} d"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n[[ nobody ]]", "nobody"),
        ("[[ site.nothing ]]", "nothing"),
        ("[% if %]", "t:1"),
        ('[% include "../outside" %]', "outside"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path.parent / "outside").write_text("secret")
    with pytest.raises(ConfigError) as caught:
        render(tmp_path, text, site={"name": "x"})
    assert caught.value.code == "BAS-2060"
    assert words in str(caught.value)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_PLAIN)
def test_json_and_yaml_give_back_what_went_in(value: object) -> None:
    assert json.loads(to_json(value)) == value
    assert "\n" not in to_json(value)
    assert yaml.safe_load(to_yaml(value)) == value


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs"))))
def test_a_unit_file_gets_one_inert_word(value: str) -> None:
    quoted = str(to_systemd(value))
    assert quoted[0] == quoted[-1] == '"'
    assert "\n" not in quoted
    inner = quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inner
    assert "%" not in inner.replace("%%", "")
    assert "$" not in inner.replace("$$", "")


def test_a_unit_file_takes_no_line_break() -> None:
    with pytest.raises(UnsafeValueError):
        to_systemd("a\nExecStart=/bin/sh")


def test_hosts_get_the_files_of_their_groups(tmp_path: Path) -> None:
    root = make_templates(
        tmp_path,
        {"host": "[[ host.name ]] [[ services.llm.bind ]]\n", "gw": "[[ services.llm | to_json ]]"},
        [
            {"path": "etc/host", "template": "host"},
            {"path": "units/gw.service", "template": "gw", "groups": ["gateway"], "mode": "0600"},
        ],
    )
    trees = render_trees(
        make_site(), FakeRelease(), make_manifest("chat", "embed"), {}, templates=root
    )
    assert trees["big"].files["etc/host"] == TreeFile(b"big 10.0.0.2\n", 0o644)
    assert set(trees["big"].files) == {"etc/host"}
    # The gateway's own LLM server is behind loopback; the other host's is reached by its address.
    assert trees["edge"].files["etc/host"].content == b"edge 127.0.0.1\n"
    backends = json.loads(trees["edge"].files["units/gw.service"].content)["backends"]
    assert [each["address"] for each in backends] == ["10.0.0.2", "127.0.0.1"]
    assert trees["edge"].units == ("gw.service",)
    assert trees["edge"].files["units/gw.service"].mode == 0o600


def test_equal_inputs_give_equal_bytes_and_a_plain_archive(tmp_path: Path) -> None:
    root = make_templates(
        tmp_path,
        {"a": "[[ site.name ]]", "b": "[[ models.llm.path ]]"},
        [{"path": "etc/z/b", "template": "b"}, {"path": "etc/a", "template": "a"}],
    )

    def trees(site: Site) -> dict[str, str]:
        found = render_trees(
            site, FakeRelease(), make_manifest("chat", "embed"), {}, templates=root
        )
        return {name: tree.sha256 for name, tree in found.items()}

    assert trees(make_site()) == trees(make_site())
    assert trees(make_site()) != trees(make_site(name="other"))
    tree = render_trees(
        make_site(), FakeRelease(), make_manifest("chat", "embed"), {}, templates=root
    )["big"]
    with tarfile.open(fileobj=io.BytesIO(tree.tar)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["etc", "etc/z", "etc/a", "etc/z/b"]
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "root")}
    assert tree.digests["etc/a"] == tree.files["etc/a"].sha256


def test_a_model_that_the_bundle_lacks_is_named_with_what_there_is(tmp_path: Path) -> None:
    root = make_templates(tmp_path, {}, [])
    with pytest.raises(ConfigError) as caught:
        render_trees(make_site(), FakeRelease(), make_manifest("other"), {}, templates=root)
    assert caught.value.code == "BAS-2061"
    assert "'chat'" in str(caught.value)
    assert "other" in str(caught.value)


@pytest.mark.parametrize(
    "path", ["../etc/passwd", "/etc/passwd", "etc/../x", "bin/x", "etc", "etc/.x"]
)
def test_a_tree_stays_inside_its_generation(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        TreeList.model_validate(
            {"format": "bastide.tree/1", "files": [{"path": path, "template": "t"}]}
        )


def test_no_service_is_started_by_a_script_of_one_generation() -> None:
    """A console script names its own generation, which may be collected while it still runs."""
    units = sorted((resources.templates() / "units").glob("*.service.j2"))
    started = {
        line.removeprefix("ExecStart=").lstrip("-").removeprefix("[[ paths.current ]]").split()[0]
        for unit in units
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=")
    }
    of_the_system = {
        "/usr/sbin/haproxy",
        "/usr/sbin/nft",
        "/usr/lib/systemd/systemd-sysctl",
        "/usr/bin/prometheus",
        "/usr/bin/prometheus-alertmanager",
        "/usr/bin/prometheus-node-exporter",
        "/usr/bin/python3",
    }
    assert started == {"/venv/bin/python", *of_the_system}
