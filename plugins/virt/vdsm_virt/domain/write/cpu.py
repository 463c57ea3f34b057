"""Processors, memory, NUMA."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument, MissingArgument
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import MAX_CPUS, whole
from vdsm_virt.domain.elements import add, under

#: MiB that fit libvirt's KiB in 63 bits, and more than any host has.
_MAX_MEMORY = 2**40
#: VDSM's names of libvirt's CPU modes.
_MODES = {
    "hostpassthrough": "host-passthrough",
    "host_passthrough": "host-passthrough",
    "host-passthrough": "host-passthrough",
    "hostmodel": "host-model",
    "host_model": "host-model",
    "host-model": "host-model",
}
#: cgroup v1's limits of cpu.shares, which libvirt applies.
_SHARES = (2, 262_144)


def memory(domain: Element, params: KnownVmParams) -> None:
    """Add `<memory>`, and `<maxMemory>` where memory may be plugged in."""
    if isinstance(params.mem_size, UnsetType):
        raise MissingArgument(argument="vmParams.memSize")
    size = whole(params.mem_size, "vmParams.memSize", 0, minimum=1, maximum=_MAX_MEMORY)
    maximum = whole(params.max_mem_size, "vmParams.maxMemSize", size, maximum=_MAX_MEMORY) or size
    if maximum < size:
        raise InvalidArgument(argument="vmParams.maxMemSize", reason=f"it is below memSize ({size})")
    if maximum > size:
        slots = whole(params.max_mem_slots, "vmParams.maxMemSlots", 16, minimum=1, maximum=255)
        add(domain, "maxMemory", maximum, unit="MiB", slots=slots)
    add(domain, "memory", size, unit="MiB")


def add_modules(domain: Element) -> None:
    """Add the modules of memory to `<memory>`, which is all memory; `memSize` is without them."""
    modules = sum(int(size.text or 0) for size in domain.findall("devices/memory/target/size"))
    total = domain.find("memory")
    if total is not None and modules:
        total.text = str(int(total.text or 0) + modules)


def processors(domain: Element, params: KnownVmParams) -> None:
    """Add `<vcpu>`, `<cpu>`, `<cputune>`, `<iothreads>` and `<numatune>`."""
    now = whole(params.smp, "vmParams.smp", 1, minimum=1, maximum=MAX_CPUS)
    maximum = whole(params.max_v_cpus, "vmParams.maxVCpus", now, maximum=MAX_CPUS) or now
    if maximum < now:
        raise InvalidArgument(argument="vmParams.maxVCpus", reason=f"it is below smp ({now})")
    add(domain, "vcpu", maximum, current=now if now != maximum else None)
    cpu = add(domain, "cpu")
    _model(cpu, params)
    _topology(cpu, params, maximum)
    _numa(cpu, params, maximum)
    if not len(cpu) and not cpu.attrib:
        domain.remove(cpu)
    _tuning(domain, params, maximum)


def _model(cpu: Element, params: KnownVmParams) -> None:
    if isinstance(params.cpu_type, UnsetType) or not params.cpu_type.strip():
        return
    model, *features = [part.strip() for part in params.cpu_type.split(",")]
    mode = _MODES.get(model.lower())
    if mode is not None:
        cpu.set("mode", mode)
    else:
        cpu.set("match", "exact")
        add(cpu, "model", model)
    for feature in features:
        sign, name = feature[:1], feature[1:].strip()
        if sign not in "+-" or not name:
            raise InvalidArgument(
                argument="vmParams.cpuType", reason=f"'{feature}' is not a flag with + or - before it"
            )
        add(cpu, "feature", name=name, policy="require" if sign == "+" else "disable")


def _topology(cpu: Element, params: KnownVmParams, maximum: int) -> None:
    cores = whole(params.smp_cores_per_socket, "vmParams.smpCoresPerSocket", 1, minimum=1, maximum=MAX_CPUS)
    threads = whole(params.smp_threads_per_core, "vmParams.smpThreadsPerCore", 1, minimum=1, maximum=MAX_CPUS)
    if maximum % (cores * threads):
        raise InvalidArgument(
            argument="vmParams.smpCoresPerSocket",
            reason=f"{maximum} processors cannot be made of sockets of {cores} cores of {threads} threads",
        )
    if cores * threads > 1:
        add(cpu, "topology", sockets=maximum // (cores * threads), cores=cores, threads=threads)


def _numa(cpu: Element, params: KnownVmParams, maximum: int) -> None:
    cells = params.guest_numa_nodes
    if cells:
        numa = add(cpu, "numa")
        for index, cell in enumerate(cells):
            size = whole(
                cell.memory, f"vmParams.guestNumaNodes[{index}].memory", 0, minimum=1, maximum=_MAX_MEMORY
            )
            add(numa, "cell", id=index, cpus=cell.cpus, memory=size, unit="MiB")
        return
    size = whole(params.mem_size, "vmParams.memSize", 0)
    if whole(params.max_mem_size, "vmParams.maxMemSize", 0) > size:
        # QEMU can plug memory only into a machine with NUMA cells.
        cpus = f"0-{maximum - 1}" if maximum > 1 else "0"
        add(add(cpu, "numa"), "cell", id=0, cpus=cpus, memory=size, unit="MiB")


def _tuning(domain: Element, params: KnownVmParams, maximum: int) -> None:
    if not isinstance(params.cpu_shares, UnsetType):
        shares = whole(params.cpu_shares, "vmParams.cpuShares", 0, minimum=_SHARES[0], maximum=_SHARES[1])
        add(under(domain, "cputune"), "shares", shares)
    for number, cpuset in params.cpu_pinning.items():
        if int(number) >= maximum:
            raise InvalidArgument(
                argument=f"vmParams.cpuPinning.{number}", reason=f"there are {maximum} processors, from 0"
            )
        add(under(domain, "cputune"), "vcpupin", vcpu=int(number), cpuset=cpuset)
    threads = whole(params.num_of_io_threads, "vmParams.numOfIoThreads", 0, maximum=MAX_CPUS)
    if threads:
        add(domain, "iothreads", threads)
    tune = params.numa_tune
    if not isinstance(tune, UnsetType) and not isinstance(tune.nodeset, UnsetType):
        add(add(domain, "numatune"), "memory", mode=tune.mode, nodeset=tune.nodeset)
