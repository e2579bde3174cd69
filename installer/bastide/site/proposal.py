"""From a few answers to a whole site: the values that ``init`` writes. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from pydantic import ValidationError

from bastide.errors import ConfigError, Problem
from bastide.schema.access import RECOMMENDED
from bastide.schema.artifact import Component
from bastide.schema.certificates import Certificates
from bastide.schema.release import Release
from bastide.schema.site import Group, LlmSize, ModelChoices, Network, Site, SiteHost, Sizes, Ssh
from bastide.site.codes import HOST_OPTION, SITE_WRONG

FIRST_HOST = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB, Group.GATEWAY)
FURTHER_HOSTS = (Group.LLM, Group.EMBEDDINGS)


@dataclass(frozen=True)
class Answers:
    """What a new site needs to be told.

    Args:
        name: The site's name.
        release: The release to run, as site.yaml will name it.
        target: What the hosts are.
        hosts: Address and groups by host name; no groups means the usual ones.
        control_address: The control node's address.
        ssh: How hosts are reached.
        models: The models to run.
        gateway_name: DNS name of the gateway.
        monitoring: Whether the gateway's host watches the site, unless another is named for that;
            None means if its groups are the usual ones.
    """

    name: str
    release: str
    target: str
    hosts: Mapping[str, tuple[str, tuple[Group, ...]]]
    control_address: str
    ssh: Ssh
    models: ModelChoices
    gateway_name: str
    monitoring: bool | None = None


def propose_site(answers: Answers) -> Site:
    """Return the site that ``answers`` describe.

    Raises:
        ConfigError: They don't make a site, such as when no host is in some group.
    """
    hosts = _hosts(answers)
    try:
        return Site(
            format="bastide.site/1",
            name=answers.name,
            release=answers.release,
            target=answers.target,
            ssh=answers.ssh,
            network=Network.model_validate(
                {
                    "control_address": answers.control_address,
                    "gateway_name": answers.gateway_name,
                }
            ),
            hosts={name: SiteHost.model_validate(host) for name, host in hosts.items()},
            models=answers.models,
            sizes=Sizes(llm=LlmSize()),
            access=RECOMMENDED,
            certificates=Certificates(mutual_tls=True),
        )
    except ValidationError as error:
        raise ConfigError(
            "these options do not describe a site",
            code=SITE_WRONG,
            hint="see `bastide init --help`",
            problems=tuple(
                Problem(
                    ".".join(str(part) for part in item["loc"] if "[" not in str(part)) or "site",
                    item["msg"].removeprefix("Value error, "),
                )
                for item in error.errors()
            ),
        ) from error


def _hosts(answers: Answers) -> dict[str, dict[str, object]]:
    groups = {
        name: given or (FURTHER_HOSTS if number else FIRST_HOST)
        for number, (name, (_, given)) in enumerate(answers.hosts.items())
    }
    named = any(Group.MONITORING in each for each in groups.values())
    gateway = next((name for name, each in groups.items() if Group.GATEWAY in each), None)
    if gateway and not named and _watched(answers, gateway):
        groups[gateway] = (*groups[gateway], Group.MONITORING)
    return {
        name: {"address": address, "groups": groups[name]}
        for name, (address, _) in answers.hosts.items()
    }


def _watched(answers: Answers, gateway: str) -> bool:
    if answers.monitoring is not None:
        return answers.monitoring
    _address, given = answers.hosts[gateway]
    return not given


def parse_host(text: str) -> tuple[str, str, tuple[Group, ...]]:
    """Return name, address and groups of ``name=address[:group,…]``.

    Raises:
        ConfigError: It has another form, or names a group that does not exist.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise _wrong(text, "expected name=address or name=address:group,group")
    if _is_address(rest):  # IPv6 addresses have colons of their own
        return name, rest.strip("[]"), ()
    address, _, groups = rest.rpartition(":")
    if not _is_address(address):
        raise _wrong(text, f"'{address or rest}' is not an IP address; names are not looked up")
    return name, address.strip("[]"), tuple(_group(text, each) for each in groups.split(","))


def choose_models(
    release: Release, carried: Sequence[str], llm: str | None, embeddings: str | None
) -> ModelChoices:
    """Return which models to run: those asked for, else the release's first that is at hand.

    Args:
        release: The release.
        carried: Models that the imported bundle has; empty if there is none yet.
        llm: Chat model asked for.
        embeddings: Embedding model asked for.

    Raises:
        ConfigError: The release has no such model.
    """

    def choose(component: Component, asked: str | None) -> str:
        models = release.components[component].models
        if asked:
            if asked not in models:
                close = difflib.get_close_matches(asked, models, n=1)
                raise ConfigError(
                    f"release {release.full_name} has no model '{asked}' for {component}",
                    code=SITE_WRONG,
                    hint=f"did you mean '{close[0]}'?" if close else f"it has {', '.join(models)}",
                )
            return asked
        at_hand = [model for model in models if not carried or model in carried]
        if not at_hand:
            raise ConfigError(
                f"release {release.full_name} has no model for {component} at hand",
                code=SITE_WRONG,
                hint=f"name it with --{component}",
            )
        return at_hand[0]

    return ModelChoices(
        llm=choose(Component.LLM, llm), embeddings=choose(Component.EMBEDDINGS, embeddings)
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _group(option: str, text: str) -> Group:
    try:
        return Group(text.strip())
    except ValueError:
        known = [str(group) for group in Group]
        close = difflib.get_close_matches(text, known, n=1)
        meant = f"did you mean '{close[0]}'? " if close else ""
        raise _wrong(option, f"there is no group '{text}'; {meant}") from None


def _wrong(option: str, what: str) -> ConfigError:
    return ConfigError(
        f"--host {option}: {what.strip().removesuffix(';')}",
        code=HOST_OPTION,
        hint="write for example --host gpu1=10.0.0.11:llm,embeddings; groups are "
        + ", ".join(Group),
    )
