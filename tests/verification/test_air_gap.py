"""Nothing on the host looks for the internet. (These checks send nothing out to prove it.)"""

from __future__ import annotations

import pytest

from bastide.verify.observe import leaves_the_site, package_sources
from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Air gap")

LIST_FILES = (
    "find /etc/apt/sources.list /etc/apt/sources.list.d -type f "
    "'(' -name '*.list' -o -name '*.sources' ')' 2>/dev/null || true"
)


def test_no_internet_package_sources(machine: Machine, saw: Saw) -> None:
    """Every active package source is a local folder or at a private address"""
    paths = machine.host.check_output(LIST_FILES).split()
    files = {path: machine.host.file(path).content_string for path in paths}
    found = package_sources(files)
    for path, uri in found:
        saw(f"{uri} ({path})")
    outside = [f"{uri} in {path}" for path, uri in found if leaves_the_site(uri)]
    assert not outside, f"active sources outside the site: {', '.join(outside)}"


def test_way_out_is_known(machine: Machine, saw: Saw) -> None:
    """The host's default route is on record (for information: a site may have one)"""
    routes = machine.host.check_output("ip -o route show default; ip -o -6 route show default")
    saw(f"default route: {routes}" if routes else "no default route: no way out of the site")
