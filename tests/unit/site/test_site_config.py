from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.errors import ConfigError
from bastide.schema.loading import parse_yaml
from bastide.schema.site import SERVING, Group, Site
from bastide.site.config import load_site, site_text

GOOD = """\
format: bastide.site/1
name: plant
release: starter
target: debian12-x86_64
ssh:
  private_key: /keys/id
  known_hosts: /keys/known
network:
  control_address: 10.0.0.1
hosts:
  host1:
    address: 10.0.0.11
    groups: [llm, embeddings, vectordb, gateway]
models:
  llm: chat
  embeddings: embed
"""

# What is replaced, by what, and where and how it is reported.
MISTAKES = [
    ("name: plant\n", "", "site.yaml:1", "name (The site's name", "add it"),
    ("release: starter", "relaese: starter", "site.yaml:3", "relaese: unknown key", '"release"'),
    ("name: plant", "name: plant\nname: other", "site.yaml:3", "given twice, first on line 2", ""),
    ("name: plant", "name: Plant!", "site.yaml:2", "should match pattern", ""),
    ("10.0.0.11", "10.0.0.256", "site.yaml:12", "IPv4 or IPv6 address, such as", ""),
    ("10.0.0.11", "gpu.example", "site.yaml:12", "found 'gpu.example'", ""),
    ("[llm,", "[lmm, llm,", "site.yaml:13", "found 'lmm'", 'did you mean "llm"?'),
    ("[llm, embeddings, vectordb, gateway]", "[]", "site.yaml:13", "at least 1 item", ""),
    ("[llm, embeddings, vectordb, gateway]", "[llm, embeddings, vectordb]", "site.yaml:1",
     "no host is in group 'gateway'", ""),
    ("10.0.0.1\n", "10.0.0.1\n  llm_port: 0\n", "site.yaml:10", "network.llm_port", ""),
    ("10.0.0.1\n", "10.0.0.1\n  llm_port: 70000\n", "site.yaml:10", "70000", ""),
    ("10.0.0.1\n", "10.0.0.1\n  llm_port: 8443\n", "site.yaml:8",
     "llm_port is 8443, which gateway_port uses already", ""),
    ("10.0.0.1\n", "10.0.0.1\n  llm_port: 8404\n", "site.yaml:8", "metrics", ""),
    ("10.0.0.1\n", "10.0.0.1\n  gateway_name: -x\n", "site.yaml:10", "gateway_name", ""),
    ("  embeddings: embed\n", "  embeddings: embed\nsizes:\n  llm:\n    parallel: many\n",
     "site.yaml:19", "sizes.llm.parallel (Requests answered at once)", ""),
    ("bastide.site/1", "bastide.site/2", "site.yaml:1", "format", 'mean "bastide.site/1"'),
]  # fmt: skip


def test_a_good_site_is_read_from_file_or_folder(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(GOOD)
    site = load_site(tmp_path)
    assert site == load_site(tmp_path / "site.yaml")
    assert site.hosts_in(Group.LLM) == ("host1",)
    assert site.network.gateway_port == 8443


@pytest.mark.parametrize(("old", "new", "where", "what", "hint"), MISTAKES)
def test_mistakes_name_line_field_and_meaning(
    tmp_path: Path, old: str, new: str, where: str, what: str, hint: str
) -> None:
    assert old in GOOD
    (tmp_path / "site.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert caught.value.code == "BAS-2020"
    texts = [(p.where.rpartition("/")[2], p.what, p.hint) for p in caught.value.problems]
    assert any(w == where and what in t and hint in h for w, t, h in texts), texts


def test_all_mistakes_come_together(tmp_path: Path) -> None:
    text = GOOD.replace("name: plant", "nam: plant").replace("10.0.0.11", "x")
    (tmp_path / "site.yaml").write_text(text + "more: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert len(caught.value.problems) == 4


def test_two_hosts_of_one_address() -> None:
    text = GOOD.replace("models:", "  host2:\n    address: 10.0.0.11\n    groups: [llm]\nmodels:")
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text.encode(), Site, where="site.yaml")
    assert "address 10.0.0.11 is used by more than one host" in caught.value.problems[0].what


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site(tmp_path)


def test_written_site_explains_every_field_and_fits_a_screen() -> None:
    site = parse_yaml(GOOD.encode(), Site, where="x")
    text = site_text(site)
    assert "# DNS name of the gateway, put into its TLS certificate. Default: bastide.internal." in text  # fmt: skip  # noqa: E501
    assert "# Requests answered at once. Default: 8." in text
    assert max(len(line) for line in text.splitlines()) <= 100
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#") and not line.rstrip().endswith(":"):
            assert lines[number - 1].lstrip().startswith("#"), f"{line!r} is not explained"


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True)


@st.composite
def sites(draw: st.DrawFn) -> Site:
    address = st.ip_addresses().map(str)
    addresses = draw(st.lists(address, min_size=1, max_size=4, unique=True))
    names = draw(st.lists(NAMES, min_size=len(addresses), max_size=len(addresses), unique=True))
    hosts = {
        name: {"address": each, "groups": list(SERVING) if not number else [Group.LLM]}
        for number, (name, each) in enumerate(zip(names, addresses, strict=True))
    }
    text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1)
    return Site.model_validate(
        {
            "format": "bastide.site/1",
            "name": draw(NAMES),
            "release": draw(NAMES | st.sampled_from(["true", "null", "1.0", "007", "no"])),
            "target": draw(NAMES),
            "ssh": {"private_key": draw(text), "known_hosts": draw(text), "user": draw(text)},
            "network": {"control_address": draw(address)},
            "hosts": hosts,
            "models": {"llm": draw(NAMES), "embeddings": draw(NAMES)},
            "sizes": {"llm": {"parallel": draw(st.integers(1, 256))}},
        }
    )


@settings(max_examples=60, deadline=None)
@given(sites())
def test_what_init_writes_is_what_is_read_back(site: Site) -> None:
    text = site_text(site)
    assert parse_yaml(text.encode(), Site, where="site.yaml") == site
