"""Named batch jobs; `python -m collbench.launch.presets` renders the scripts in launch/jobs/ from them."""

from collections.abc import Mapping
from pathlib import Path

from collbench.collectives.options import RunConfig
from collbench.collectives.records.record import Policy

from .job import Job
from .launchers.slurm import Slurm
from .pod_needs import PodNeeds
from .workload import CPU_SIZES, DEVICE_SIZES, Workload

__all__ = ["PRESETS", "SCRIPTS", "render"]

SCRIPTS = Path(__file__).parent / "jobs"
_HOUR_S = 3600.0
_NO_NEEDS = PodNeeds()
_GPUS = PodNeeds(resource="nvidia.com/gpu")
# GPU operators label nodes with their NVLink domain; NPUs count as dies, and their driver is the host's.
_RACK = PodNeeds(resource="nvidia.com/gpu", compute_domain=True, topology="nvidia.com/gpu.clique")
_NPUS = PodNeeds(resource="huawei.com/Ascend910", devices=16,
                 host_paths=("/usr/local/Ascend/driver", "/usr/local/dcmi", "/usr/local/sbin"))


def _config(name: str, transport: str, sizes: tuple[int, ...], device: str, device_stride: int) -> RunConfig:
    return RunConfig(transport=transport, device=device, device_stride=device_stride, policy=Policy(),
                     sweep=Workload(sizes=sizes).sweep(on_device=False, seed=0),
                     journal=Path("results") / name / "journal.jsonl")


def _preset(name: str, title: str, nodes: int, per_node: int, *, hours: float = 2, curve: tuple[int, ...] = (),
            directives: tuple[str, ...] = (), transports: tuple[str, ...] = ("torch",),
            sizes: tuple[int, ...] = DEVICE_SIZES, device: str = "auto", device_stride: int = 1,
            notes: tuple[str, ...] = (), pods: PodNeeds = _NO_NEEDS) -> Job:
    return Job(name=name, title=title, notes=notes, nodes=nodes, ranks=nodes * per_node, python="python",
               out_by_name=True, draw_seed=True, time_limit_s=hours * _HOUR_S, curve=curve, directives=directives,
               config=_config(name, transports[0], sizes, device, device_stride), more_transports=transports[1:],
               pods=pods)


_CM384 = "One CloudMatrix 384: 48 nodes with 8 NPUs each, one rank per NPU, on its first die."
_CM384_NOTES = (
    "An NPU (Ascend 910C) has two dies, each a device to torch_npu and a rank to HCCL. --device-stride 2 takes one of",
    "each, so that 384 ranks are 384 NPUs, each with the links of one die. For a rank per die, 768 in all:",
    "    sbatch --array=768 --ntasks-per-node=16 SCRIPT --device-stride 1",
    "Where the site counts dies, ask for --gres=npu:16.")

PRESETS: Mapping[str, Job] = {job.name: job for job in (
    _preset("generic", "Any cluster: all tasks of the allocation in one launch; adapt nodes, tasks and devices.",
            2, 8, hours=1),
    _preset("nvl72", "One GB200 or GB300 NVL72 rack: 18 nodes with 4 GPUs each, one rank per GPU.", 18, 4,
            curve=(4, 8, 16, 36, 72), pods=_RACK, directives=("--gpus-per-node=4", "--exclusive", "--mem=0")),
    _preset("cloudmatrix384", _CM384, 48, 8, curve=(8, 16, 32, 64, 128, 256, 384), device_stride=2, notes=_CM384_NOTES,
            pods=_NPUS, directives=("--gres=npu:8", "--exclusive", "--mem=0")),
    _preset("hgx8", "HGX nodes with 8 GPUs each, one rank per GPU: within one node, then across nodes.", 4, 8,
            curve=(2, 4, 8, 16, 32), pods=_GPUS, directives=("--gpus-per-node=8", "--exclusive", "--mem=0")),
    _preset("cpu", "CPUs only: gloo and MPI on the same cores, one launch of each over all tasks of the allocation.",
            2, 8, hours=1, sizes=CPU_SIZES, transports=("mpi", "torch"), device="cpu"),
)}


def render() -> dict[Path, str]:
    """The text of every script, by its path."""
    return {SCRIPTS / f"{name}.sbatch": Slurm().script(job) for name, job in PRESETS.items()}


if __name__ == "__main__":
    for path, text in render().items():
        path.write_text(text)
