"""Named jobs; `python -m collbench.launch.presets` renders the scripts in launch/jobs/ from them."""

from pathlib import Path

from .job import Job
from .launchers.slurm import Slurm

__all__ = ["PRESETS", "SCRIPTS", "render"]

SCRIPTS = Path(__file__).parent / "jobs"
_DEVICES = ("--ops", "all", "-b", "1K", "-e", "1G", "-f", "4")
_CORES = ("--ops", "all", "-b", "32", "-e", "1M", "-f", "8")
_HOUR_S = 3600.0


def _preset(name: str, title: str, nodes: int, per_node: int, **more: object) -> Job:
    return Job(name=name, title=title, nodes=nodes, ranks=nodes * per_node, python="python",
               **{"arguments": _DEVICES, "transports": ("torch",), "time_limit_s": 2 * _HOUR_S, **more})


PRESETS = {job.name: job for job in (
    _preset("generic", "Any cluster: all tasks of the allocation in one launch; set nodes, tasks and devices to yours.",
            2, 8, time_limit_s=_HOUR_S),
    _preset("nvl72", "One GB200 or GB300 NVL72 rack: 18 nodes with 4 GPUs each, one rank a GPU.", 18, 4,
            curve=(4, 8, 16, 36, 72), directives=("--gpus-per-node=4", "--exclusive", "--mem=0")),
    _preset("cloudmatrix384", "One CloudMatrix 384: 48 nodes with 8 NPUs each, one rank an NPU.", 48, 8,
            curve=(8, 16, 32, 64, 128, 256, 384), directives=("--gres=npu:8", "--exclusive", "--mem=0")),
    _preset("hgx8", "HGX nodes with 8 GPUs each, one rank a GPU: inside one node, then across.", 4, 8,
            curve=(2, 4, 8, 16, 32), directives=("--gpus-per-node=8", "--exclusive", "--mem=0")),
    _preset("cpu", "CPUs only: gloo and MPI on the same cores, all tasks of the allocation in one launch of each.",
            2, 8, arguments=_CORES, transports=("mpi", "torch"), time_limit_s=_HOUR_S),
)}


def render() -> dict[Path, str]:
    """The text of every script, by its path."""
    return {SCRIPTS / f"{name}.sbatch": Slurm().script(job) for name, job in PRESETS.items()}


if __name__ == "__main__":
    for path, text in render().items():
        path.write_text(text)
