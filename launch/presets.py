"""Named batch jobs; `python -m collbench.launch.presets` renders the scripts in launch/jobs/ from them."""

from collections.abc import Mapping
from pathlib import Path

from collbench.collectives.options import RunConfig
from collbench.collectives.records.record import Policy

from .job import Job
from .launchers.slurm import Slurm
from .workload import CPU_SIZES, DEVICE_SIZES, Workload

__all__ = ["PRESETS", "SCRIPTS", "render"]

SCRIPTS = Path(__file__).parent / "jobs"
_HOUR_S = 3600.0


def _config(name: str, transport: str, sizes: tuple[int, ...], device: str) -> RunConfig:
    return RunConfig(transport=transport, device=device, policy=Policy(),
                     sweep=Workload(sizes=sizes).sweep(on_device=False, seed=0),
                     journal=Path("results") / name / "journal.jsonl")


def _preset(name: str, title: str, nodes: int, per_node: int, *, hours: float = 2, curve: tuple[int, ...] = (),
            directives: tuple[str, ...] = (), transports: tuple[str, ...] = ("torch",),
            sizes: tuple[int, ...] = DEVICE_SIZES, device: str = "auto") -> Job:
    return Job(name=name, title=title, nodes=nodes, ranks=nodes * per_node, python="python", out_by_name=True,
               draw_seed=True, time_limit_s=hours * _HOUR_S, curve=curve, directives=directives,
               config=_config(name, transports[0], sizes, device), more_transports=transports[1:])


PRESETS: Mapping[str, Job] = {job.name: job for job in (
    _preset("generic", "Any cluster: all tasks of the allocation in one launch; adapt nodes, tasks and devices.",
            2, 8, hours=1),
    _preset("nvl72", "One GB200 or GB300 NVL72 rack: 18 nodes with 4 GPUs each, one rank per GPU.", 18, 4,
            curve=(4, 8, 16, 36, 72), directives=("--gpus-per-node=4", "--exclusive", "--mem=0")),
    _preset("cloudmatrix384", "One CloudMatrix 384: 48 nodes with 8 NPUs each, one rank per NPU.", 48, 8,
            curve=(8, 16, 32, 64, 128, 256, 384), directives=("--gres=npu:8", "--exclusive", "--mem=0")),
    _preset("hgx8", "HGX nodes with 8 GPUs each, one rank per GPU: within one node, then across nodes.", 4, 8,
            curve=(2, 4, 8, 16, 32), directives=("--gpus-per-node=8", "--exclusive", "--mem=0")),
    _preset("cpu", "CPUs only: gloo and MPI on the same cores, one launch of each over all tasks of the allocation.",
            2, 8, hours=1, sizes=CPU_SIZES, transports=("mpi", "torch"), device="cpu"),
)}


def render() -> dict[Path, str]:
    """The text of every script, by its path."""
    return {SCRIPTS / f"{name}.sbatch": Slurm().script(job) for name, job in PRESETS.items()}


if __name__ == "__main__":
    for path, text in render().items():
        path.write_text(text)
