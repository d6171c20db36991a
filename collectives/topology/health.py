"""The state of this host's GPUs, as their driver tells it: clocks, power, throttling, errors and modes.

Read at the start and at the end of a run, it tells whether a slow rank had a hot, capped or faulty GPU. One process of
a host should ask: it takes some milliseconds a GPU. Only NVML (NVIDIA) is asked; names are those of its reference.
"""

from collections.abc import Iterator, Mapping

import msgspec

from .host_files import System
from .nvml_calls import Gpu, Nvml, have_nvidia, open_nvml, text

__all__ = ["DeviceHealth", "HostHealth", "changes", "read_health"]

_SM, _MEMORY = 1, 2             # NVML_CLOCK_SM, NVML_CLOCK_MEM
_CORE_TEMPERATURE = 0           # NVML_TEMPERATURE_GPU
_CORRECTED, _UNCORRECTED = 0, 1     # NVML_MEMORY_ERROR_TYPE_*
_SINCE_LOADED = 0               # NVML_VOLATILE_ECC
_REASONS = {0x1: "idle", 0x2: "clocks set by the user", 0x4: "power cap", 0x8: "hardware slowdown", 0x10: "sync boost",
            0x20: "thermal slowdown by software", 0x40: "thermal slowdown by hardware", 0x80: "power brake",
            0x100: "display clocks"}        # nvmlClocksEventReason*
_POLICIES = {0: "power", 1: "thermal", 2: "sync boost", 3: "board limit", 5: "reliability"}     # NVML_PERF_POLICY_*
_LINK_ERRORS = {0: "replay", 1: "recovery", 2: "CRC flit", 3: "CRC data"}       # NVML_NVLINK_ERROR_DL_*
# NVML_FI_DEV_NVLINK_COUNT_*, which NVLink 5 has instead.
_LINK_FIELDS = {206: "malformed packets", 208: "receive", 211: "link integrity", 214: "failed link recovery",
                215: "link recovery", 219: "effective"}
_VALUES = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal"}        # NVML_VALUE_TYPE_*
_Counters = Mapping[str, int | None]
_NOTABLE_NS = 100_000_000       # clocks are lowered for a moment in every healthy run
_ALARMS = ("hardware slowdown", "thermal slowdown by software", "thermal slowdown by hardware", "power brake")


class DeviceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU at one moment. None stands for what device or driver do not tell.

    Args:
        index: its number in NVML's order.
        identity, bus: its uuid and PCI address.
        sm_Hz, memory_Hz: clocks now.
        most_sm_Hz: the highest clock that it can be set to.
        power_W, power_limit_W: drawn now, and the cap in force.
        temperature_C: of the core.
        throttled_by: why its clocks are lower than they could be now.
        throttled_ns: nanoseconds for which each policy has lowered the clocks, since the driver was loaded.
        ecc: whether error correction is on.
        ecc_corrected, ecc_uncorrected: memory errors since the driver was loaded.
        nvlink_errors: errors of all its links since the driver was loaded, by kind.
        mig: whether it is divided into instances.
        persistence: whether the driver keeps it initialised without users.
    """

    index: int
    identity: str
    bus: str
    sm_Hz: float | None = None
    memory_Hz: float | None = None
    most_sm_Hz: float | None = None
    power_W: float | None = None
    power_limit_W: float | None = None
    temperature_C: float | None = None
    throttled_by: list[str] | None = None
    throttled_ns: dict[str, int] | None = None
    ecc: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    nvlink_errors: dict[str, int] | None = None
    mig: bool | None = None
    persistence: bool | None = None


class HostHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs of one host at one moment, its driver, and the highest version of CUDA that the driver supports."""

    driver: str | None = None
    cuda: str | None = None
    devices: list[DeviceHealth] = []
    notes: list[str] = []

    @property
    def told(self) -> bool:
        """Whether there is anything to record: a GPU, or why none could be asked."""
        return bool(self.devices or self.notes)


def read_health(system: System = System()) -> HostHealth:       # noqa: B008  (a tuple of constants)
    """The state of this host's GPUs; empty without any that this module knows. Never raises."""
    if not have_nvidia(system):
        return HostHealth()
    notes: list[str] = []
    with open_nvml(system, notes) as nvml:
        if nvml is None:
            return HostHealth(notes=notes)
        driver, cuda = nvml.query("nvmlSystemGetDriverVersion"), nvml.query("nvmlSystemGetCudaDriverVersion")
        devices = [_device(nvml, gpu) for gpu in nvml.gpus(notes)]
        return HostHealth(driver=text(driver) if driver else None, devices=devices, notes=notes,
                          cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None)


def _device(nvml: Nvml, gpu: Gpu) -> DeviceHealth:
    def ask(function: str, *arguments: object) -> int | None:
        return nvml.query(function, gpu.handle, *arguments)
    ecc, mig = nvml.query("nvmlDeviceGetEccMode", gpu.handle), nvml.query("nvmlDeviceGetMigMode", gpu.handle)
    persistence = ask("nvmlDeviceGetPersistenceMode")
    return DeviceHealth(
        index=gpu.number, identity=gpu.uuid, bus=gpu.bus,
        sm_Hz=_times(ask("nvmlDeviceGetClockInfo", _SM), 1e6),
        memory_Hz=_times(ask("nvmlDeviceGetClockInfo", _MEMORY), 1e6),
        most_sm_Hz=_times(ask("nvmlDeviceGetMaxClockInfo", _SM), 1e6),
        power_W=_times(ask("nvmlDeviceGetPowerUsage"), 1e-3),
        power_limit_W=_times(ask("nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
        temperature_C=_times(ask("nvmlDeviceGetTemperature", _CORE_TEMPERATURE), 1.0),
        throttled_by=_reasons(nvml, gpu), throttled_ns=_throttled(nvml, gpu),
        ecc=bool(ecc[0]) if ecc else None,
        ecc_corrected=ask("nvmlDeviceGetTotalEccErrors", _CORRECTED, _SINCE_LOADED),
        ecc_uncorrected=ask("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _SINCE_LOADED),
        nvlink_errors=_link_errors(nvml, gpu), mig=bool(mig[0]) if mig else None,
        persistence=None if persistence is None else bool(persistence))


def _times(value: int | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _reasons(nvml: Nvml, gpu: Gpu) -> list[str] | None:
    bits = nvml.query("nvmlDeviceGetCurrentClocksEventReasons", gpu.handle)
    if bits is None:        # its name until CUDA 12.2
        bits = nvml.query("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.handle)
    return None if bits is None else [words for bit, words in _REASONS.items() if bits & bit]


def _throttled(nvml: Nvml, gpu: Gpu) -> dict[str, int] | None:
    found = {words: nvml.query("nvmlDeviceGetViolationStatus", gpu.handle, policy)
             for policy, words in _POLICIES.items()}
    return {words: int(status.violationTime) for words, status in found.items() if status is not None} or None


def _link_errors(nvml: Nvml, gpu: Gpu) -> dict[str, int] | None:
    """Errors by kind, summed over the links that answer; None if none does."""
    counts: dict[str, int] = {}
    for link in range(getattr(nvml.bindings, "NVML_NVLINK_MAX_LINKS", 0)):
        if not nvml.query("nvmlDeviceGetNvLinkState", gpu.handle, link):
            continue
        for kind, count in _errors_of(nvml, gpu, link):
            counts[kind] = counts.get(kind, 0) + count
    return counts or None


def _errors_of(nvml: Nvml, gpu: Gpu, link: int) -> Iterator[tuple[str, int]]:
    for counter, kind in _LINK_ERRORS.items():
        count = nvml.query("nvmlDeviceGetNvLinkErrorCounter", gpu.handle, link, counter)
        if count is not None:
            yield kind, int(count)
    for value in nvml.query("nvmlDeviceGetFieldValues", gpu.handle, [(field, link) for field in _LINK_FIELDS]) or ():
        if value.nvmlReturn == 0 and value.valueType in _VALUES:
            yield _LINK_FIELDS[value.fieldId], int(getattr(value.value, _VALUES[value.valueType]))


def changes(before: DeviceHealth, after: DeviceHealth) -> list[str]:
    """What went wrong with a GPU between two readings, one phrase each: throttling, memory errors, link errors."""
    found = [f"its clocks were lowered for {count / 1e9:.3g} s ({kind})"
             for kind, count in _risen(before.throttled_ns, after.throttled_ns) if count > _NOTABLE_NS]
    found += [f"at the end it was throttled ({reason})" for reason in after.throttled_by or () if reason in _ALARMS]
    found += [f"{_errors(count, 'NVLink')} ({kind})"
              for kind, count in _risen(before.nvlink_errors, after.nvlink_errors)]
    return found + [_errors(count, f"{kind} memory") for kind, count in _risen(_ecc(before), _ecc(after))]


def _errors(count: int, what: str) -> str:
    return f"{count} {what} error{'' if count == 1 else 's'}"


def _ecc(state: DeviceHealth) -> dict[str, int | None]:
    return {"corrected": state.ecc_corrected, "uncorrected": state.ecc_uncorrected}


def _risen(before: _Counters | None, after: _Counters | None) -> Iterator[tuple[str, int]]:
    """By how much each counter rose; a reset driver starts again at 0."""
    for kind, count in (after or {}).items():
        earlier = (before or {}).get(kind)
        if count is not None and earlier is not None and count > earlier:
            yield kind, count - earlier
