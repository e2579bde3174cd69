"""Checks of the machine: processor, memory, kernel limits, load."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bastide.plan.memory import memory_needed
from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns
from bastide.plan.preflight.needs_met import megabytes, service_ports
from bastide.schema.site import Group

NUMPY_NEEDS = frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})  # x86-64-v2
FAST = frozenset({"avx2", "fma", "f16c", "bmi2"})
OLDEST_KERNEL = (4, 18)
OPEN_FILES = 16384  # LimitNOFILE of our units
MAP_COUNT = 65530  # the kernel's own default
LEAST_MAP_COUNT = 4096
FEW_THREADS = 4096
LITTLE_ENTROPY = 128
CONDITION = Subject.CONDITION


@refuses(
    CONDITION,
    "BAS-5100",
    "the processor has the instructions of x86-64-v2",
    "The processor of a host lacks instructions that the bundle's wheels use",
    "use a newer machine; of a virtual one, let it see the host's processor (CPU model `host`)",
)
def cpu_baseline(host: HostView) -> Iterator[Trouble]:
    """Look for the instructions without which a service dies of SIGILL."""
    lacking = sorted(NUMPY_NEEDS - set(host.condition.cpu_flags))
    if host.facts.architecture == "x86_64" and lacking:
        yield Trouble(f"the processor lacks {', '.join(lacking)}: services would die of SIGILL")


@warns(
    CONDITION,
    "BAS-5101",
    "the processor has the instructions that make the engine fast",
    "A host's processor has no AVX2, FMA, F16C or BMI2: answers come several times slower",
    "use a newer machine; of a virtual one, let it see the host's processor (CPU model `host`)",
)
def cpu_fast(host: HostView) -> Iterator[Trouble]:
    """Look for the instructions of the engine's faster plug-ins."""
    lacking = sorted(FAST - set(host.condition.cpu_flags))
    if host.facts.architecture == "x86_64" and lacking and Group.LLM in host.needs.groups:
        yield Trouble(f"the processor lacks {', '.join(lacking)}: answers will come slowly")


@refuses(
    CONDITION,
    "BAS-5102",
    "the kernel is new enough",
    "A host's kernel is older than the services' sandbox needs",
    "upgrade the host's kernel",
)
def kernel_version(host: HostView) -> Iterator[Trouble]:
    """Compare the kernel's version with the oldest that will do."""
    numbers = tuple(int(each) for each in re.findall(r"\d+", host.condition.kernel)[:2])
    if numbers and numbers < OLDEST_KERNEL:
        yield Trouble(f"the kernel should be 4.18 or newer, found {host.condition.kernel}")


@warns(
    CONDITION,
    "BAS-5103",
    "memory is free as well as there",
    "Other programs of a host use memory that the services will need",
    "stop what uses it, or add memory",
)
def memory_free(host: HostView) -> Iterator[Trouble]:
    """Compare the need with the free memory, where none of our services uses some already."""
    if "active" in host.facts.units.values():
        return
    parts = memory_needed(host.needs.groups, host.site, host.inputs.cards)
    wanted = sum(size for what, size in parts.items() if what != "the operating system")
    found = host.condition.memory_available
    if found < wanted <= host.facts.memory_bytes:
        yield Trouble(
            f"the services need {megabytes(wanted)} of memory, but only {megabytes(found)} of "
            f"{megabytes(host.facts.memory_bytes)} are free"
        )


@refuses(
    CONDITION,
    "BAS-5104",
    "the kernel promises enough memory",
    "A host has `vm.overcommit_memory = 2`, and its limit is below what the services ask for",
    "raise `vm.overcommit_ratio`, or set `vm.overcommit_memory` to 0",
)
def overcommit(host: HostView) -> Iterator[Trouble]:
    """Look for strict accounting that would refuse our allocations."""
    seen = host.condition
    wanted = sum(memory_needed(host.needs.groups, host.site, host.inputs.cards).values())
    left = seen.commit_limit - seen.committed
    running = "active" in host.facts.units.values()
    if seen.overcommit == 2 and not running and left < wanted:
        yield Trouble(
            f"vm.overcommit_memory is 2 and {megabytes(max(left, 0))} may still be promised; "
            f"the services ask for {megabytes(wanted)}"
        )


@warns(
    CONDITION,
    "BAS-5105",
    "the host does not swap",
    "A host has swapped out much: answers will be slow while it does",
    "stop what uses its memory, or add memory",
)
def swap(host: HostView) -> Iterator[Trouble]:
    """Look for a host that lives from its swap."""
    seen = host.condition
    used = seen.swap_bytes - seen.swap_free
    if used > max(seen.swap_bytes // 2, 512 * 2**20):
        yield Trouble(f"{megabytes(used)} of memory are swapped out")


@warns(
    CONDITION,
    "BAS-5106",
    "the processor is idle enough",
    "A host is busy with something else; answers will be slower than measured",
    "find what it does (`top`), and move it",
)
def load(host: HostView) -> Iterator[Trouble]:
    """Look for other work, where none of our services runs yet."""
    running = "active" in host.facts.units.values()
    if not running and host.condition.load > 2 * host.facts.cpus + 2:
        yield Trouble(f"its load is {host.condition.load:.1f} with {host.facts.cpus} CPUs")


@warns(
    CONDITION,
    "BAS-5107",
    "memory is near every CPU",
    "A host has several NUMA nodes; threads that work on another's memory are slower",
    "give `sizes.llm.threads` the cores of one node, or use more hosts",
)
def numa(host: HostView) -> Iterator[Trouble]:
    """Look for a machine of several nodes whose threads are not limited to one."""
    nodes, threads = host.condition.numa_nodes, host.site.sizes.llm.threads
    wide = threads == 0 or threads > host.facts.cpus // nodes
    if nodes > 1 and wide and Group.LLM in host.needs.groups:
        yield Trouble(f"it has {nodes} NUMA nodes, and the LLM server uses the CPUs of all")


@warns(
    CONDITION,
    "BAS-5108",
    "there is a CPU for every thread",
    "A service of a host would have more threads than the host has CPUs",
    "lower `threads` under `sizes`, or leave it at 0",
)
def threads(host: HostView) -> Iterator[Trouble]:
    """Compare the threads that the site asks for with the host's CPUs."""
    sizes = {
        Group.LLM: host.site.sizes.llm.threads,
        Group.EMBEDDINGS: host.site.sizes.embeddings.threads,
    }
    for group, asked in sizes.items():
        if group in host.needs.groups and asked > host.facts.cpus:
            yield Trouble(f"sizes.{group}.threads is {asked}, the host has {host.facts.cpus} CPUs")


@warns(
    CONDITION,
    "BAS-5109",
    "services may open enough files",
    "The system manager of a host may not open as many files as the services ask for",
    "raise the limit of process 1, of a virtual host or container outside of it",
)
def open_files(host: HostView) -> Iterator[Trouble]:
    """Compare the outer limit with that of our units."""
    found = host.condition.open_files
    if found is not None and found < OPEN_FILES:
        yield Trouble(f"at most {found} files may be open, the services ask for {OPEN_FILES}")


@refuses(
    CONDITION,
    "BAS-5110",
    "there may be enough threads",
    "A host allows so few threads that services cannot start",
    "raise `kernel.threads-max`",
)
def threads_max(host: HostView) -> Iterator[Trouble]:
    """Look for a limit on threads that the services would meet."""
    found = host.condition.threads_max
    if found is not None and found < FEW_THREADS:
        yield Trouble(f"kernel.threads-max is {found}; it should be {FEW_THREADS} or more")


@refuses(
    CONDITION,
    "BAS-5111",
    "files can be mapped into memory",
    "A host allows so few memory mappings that the vector DB or a model cannot be loaded",
    "set `vm.max_map_count` to 65530 or more",
)
def map_count(host: HostView) -> Iterator[Trouble]:
    """Look for a limit on mappings that a collection with many segments would meet."""
    found = host.condition.map_count
    if found is not None and found < MAP_COUNT:
        mild = found >= LEAST_MAP_COUNT
        yield Trouble(f"vm.max_map_count is {found}; it should be {MAP_COUNT} or more", mild=mild)


@warns(
    CONDITION,
    "BAS-5112",
    "there is randomness",
    "A host has little entropy: the first TLS connections may wait",
    "install a source of entropy (`rng-tools`, virtio-rng)",
)
def entropy(host: HostView) -> Iterator[Trouble]:
    """Look for a starved random generator."""
    found = host.condition.entropy
    if found is not None and found < LITTLE_ENTROPY:
        yield Trouble(f"only {found} bits of entropy are there")


@warns(
    CONDITION,
    "BAS-5113",
    "no service's port is one that outgoing connections take",
    "A service's port is among those that outgoing connections are given: it may be taken one day",
    "choose another port under `network`, or reserve it (`net.ipv4.ip_local_reserved_ports`)",
)
def port_range(host: HostView) -> Iterator[Trouble]:
    """Compare the services' ports with the kernel's range for outgoing connections."""
    low, high = host.condition.port_range or (65536, 65536)
    for group, port in service_ports(host).items():
        if group in host.needs.groups and low <= port <= high:
            yield Trouble(f"network.{group}_port {port} lies between {low} and {high}")


@refuses(
    CONDITION,
    "BAS-5114",
    "services may listen on their ports",
    "A service without root rights would have to listen on a port that needs them",
    "choose a port of 1024 or more under `network`",
)
def low_ports(host: HostView) -> Iterator[Trouble]:
    """Look for low ports; only the gateway has the right to one."""
    lowest = host.condition.unprivileged_port
    for group, port in service_ports(host).items():
        mine = group in host.needs.groups and group is not Group.GATEWAY
        if mine and lowest is not None and port < lowest:
            yield Trouble(f"network.{group}_port is {port}; below {lowest} it takes root rights")


CHECKS = checks_in(globals())
