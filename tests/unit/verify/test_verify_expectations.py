"""Site + manifest → what must be checked."""

from __future__ import annotations

import plan_factories as make
import pytest

from bastide import resources
from bastide.errors import ConfigError
from bastide.schema.artifact import Manifest
from bastide.schema.audit import Audit
from bastide.schema.expectations import Expectations
from bastide.schema.loading import load_yaml
from bastide.schema.model_card import ModelCard
from bastide.schema.site import SERVING, Group, Site
from bastide.verify.expectations import expectations, with_generations


def manifest() -> Manifest:
    return Manifest(
        release="starter-1",
        target="debian12-x86_64",
        lock=make.sha("lock"),
        artifacts=make.make_artifacts(),
    )


def embedding_card() -> ModelCard:
    path = resources.catalogue() / "models" / "all-minilm-l6-v2-q8_0.yaml"
    return load_yaml(path, ModelCard).replace(name="embed")


def expect(site: Site) -> Expectations:
    return expectations(
        site,
        manifest(),
        {"embed": embedding_card()},
        release="starter-1",
        bundle=make.sha("bundle"),
        authority="/site/ca.pem",
    )


def test_one_host_keeps_its_services_on_loopback() -> None:
    found = expect(make.make_site())
    host = found.hosts["host1"]
    where = {each.service: (each.address, each.port) for each in host.listeners}
    assert where == {
        "llm": ("127.0.0.1", 8081),
        "embeddings": ("127.0.0.1", 8082),
        "vectordb": ("127.0.0.1", 6333),
        "gateway": ("10.0.0.11", 8443),
        "metrics": ("127.0.0.1", 8404),
    }
    services = {f"bastide-{group}.service" for group in SERVING}
    assert {unit.name for unit in host.units} == {*services, "bastide-firewall.service"}
    assert all(unit.exposure_limit == 2.0 and not unit.reason for unit in host.units)


def test_services_on_other_hosts_are_on_their_own_address() -> None:
    site = make.make_site(
        {"front": (Group.GATEWAY, Group.VECTORDB), "back": (Group.LLM, Group.EMBEDDINGS)}
    )
    found = expect(site)
    back = {each.service: each.address for each in found.hosts["back"].listeners}
    assert back == {"llm": "10.0.0.12", "embeddings": "10.0.0.12"}
    assert found.gateway.url == "https://10.0.0.11:8443"
    assert found.hosts["front"].models == ()


def test_models_are_those_of_the_manifest() -> None:
    found = expect(make.make_site())
    wanted = {each.name: each for each in manifest().artifacts}
    for model in found.hosts["host1"].models:
        assert (model.sha256, model.size) == (wanted[model.name].sha256, wanted[model.name].size)
        assert model.path == f"/var/lib/bastide/models/{model.sha256}.gguf"
        assert model.link == f"/opt/bastide/current/models/{model.name}.gguf"
    assert (found.chat_model, found.embedding_model, found.dimensions) == ("chat", "embed", 384)


def test_texts_are_expected_as_site_yaml_says() -> None:
    assert expect(make.make_site()).texts_days is None
    assert expect(make.make_site().replace(audit=Audit(texts_days=7))).texts_days == 7


def test_an_ipv6_gateway_has_a_usable_url() -> None:
    site = make.make_site()
    hosts = {"host1": {"address": "fd00::11", "groups": SERVING}}
    found = expect(site.replace(hosts=hosts))
    assert found.gateway.url == "https://[fd00::11]:8443"


def test_a_missing_card_is_said() -> None:
    with pytest.raises(ConfigError, match="no card of the embedding model 'embed'") as failure:
        expectations(
            make.make_site(), manifest(), {}, release="r-1", bundle=make.sha("b"), authority="/ca"
        )
    assert failure.value.code == "BAS-2070"


def test_a_generation_of_another_bundle_with_the_same_content_is_known_by_its_digest() -> None:
    found = with_generations(expect(make.make_site()), {"host1": make.sha("content")})
    assert found.hosts["host1"].generation == make.sha("content")


def test_they_survive_a_file() -> None:
    found = expect(make.make_site())
    assert Expectations.model_validate_json(found.model_dump_json()) == found
