"""No input is executed, no socket is reachable from outside without need, no unrelated variable is recorded."""

import ast
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collbench.collectives.ranks.provenance import settings

FORK = "collbench.collectives.program.fork"

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for room in ("collectives", "launch", "analysis") for path in (ROOT / room).rglob("*.py"))
BANNED_IMPORTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
BANNED_CALLS = {"eval", "exec", "compile", "torch.load", "pickle.loads", "pd.read_pickle", "pandas.read_pickle",
                "os.system", "os.popen", "tempfile.mktemp"}
PICKLED_BY_MPI4PY = {"send", "recv", "isend", "irecv", "bcast", "scatter", "gather", "allgather", "alltoall", "reduce",
                     "allreduce", "sendrecv", "ibcast"}
PICKLED_BY_TORCH = {"broadcast_object_list", "all_gather_object", "gather_object", "scatter_object_list",
                    "send_object_list", "recv_object_list"}


def _calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_evaluated_or_passed_to_a_shell(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & BANNED_IMPORTS
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in BANNED_IMPORTS
    for node, name in _calls(path):
        assert name not in BANNED_CALLS, f"{path}:{node.lineno}: {name}"
        assert name.rpartition(".")[2] not in PICKLED_BY_TORCH, f"{path}:{node.lineno}: {name}"
        for keyword in node.keywords:
            allowed = isinstance(keyword.value, ast.Constant) and not keyword.value.value
            assert keyword.arg not in ("shell", "allow_pickle") or allowed, f"{path}:{node.lineno}: {keyword.arg}"


def test_mpi_sends_buffers_and_no_pickled_objects():
    for path in (ROOT / "collectives" / "transports").glob("mpi*.py"):
        for node, name in _calls(path):
            owner, _, method = name.rpartition(".")
            assert method not in PICKLED_BY_MPI4PY or owner in ("self", "super()"), f"{path}:{node.lineno}: {name}"


def test_only_communication_settings_are_recorded():
    kept = settings({"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "1", "AWS_SECRET_ACCESS_KEY": "s", "HOME": "/h",
                     "NCCL_AUTH_TOKEN": "s", "UCX_API_KEY": "s", "PATH": "/bin", "MY_NCCL_DEBUG": "x"})
    assert kept == {"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "1"}


def test_settings_of_devices_and_of_nccls_files_are_recorded_without_secrets(tmp_path):
    given = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_LAUNCH_BLOCKING": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1",
             "NVIDIA_IMEX_CHANNELS": "0", "HSA_ENABLE_SDMA": "0", "HIP_FORCE_DEV_KERNARG": "1", "CCL_ALLREDUCE": "ring",
             "ONEAPI_DEVICE_SELECTOR": "level_zero:0", "SYCL_CACHE_PERSISTENT": "1", "ZE_AFFINITY_MASK": "0.0",
             "ASCEND_LAUNCH_BLOCKING": "1", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
             "PYTORCH_ALLOC_CONF": "x", "TORCH_FR_BUFFER_SIZE": "0", "TORCH_DISTRIBUTED_DEBUG": "DETAIL",
             "SHARP_COLL_ENABLE_SAT": "1"}
    secret = {"NVIDIA_API_KEY": "s", "NCCL_PROXY": "http://me:pass@proxy", "ASCEND_TOKEN": "s", "TORCH_HOME": "/h"}
    for name, text in (("etc/nccl.conf", "NCCL_ALGO=Ring\n# NCCL_PROTO=LL\n\nNCCL_NET_SECRET=s\nPATH=/x\n"),
                       ("home/.nccl.conf", " NCCL_MIN_NCHANNELS = 32 # as measured\n"), ("own", "NCCL_DEBUG=INFO")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    home = {"HOME": str(tmp_path / "home")}
    assert settings({**given, **secret, **home}, tmp_path) == {
        **given, "NCCL_ALGO (/etc/nccl.conf)": "Ring", "NCCL_MIN_NCHANNELS (~/.nccl.conf)": "32"}
    own = str(tmp_path / "own")
    assert settings({**home, "NCCL_CONF_FILE": own}, tmp_path / "none") == {
        "NCCL_CONF_FILE": own, f"NCCL_DEBUG ({own})": "INFO"}


def _listening(pids):
    """Addresses, in the form of /proc/net, on which any of these processes listens."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                found.add(words[1].partition(":")[0])
    return found


@pytest.mark.ranks
@pytest.mark.needs("torch")
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="SKIPPED: no /proc/net/tcp here")
def test_ranks_of_one_host_listen_only_on_loopback_and_files_belong_to_the_user(tmp_path):
    job = subprocess.Popen([sys.executable, "-m", FORK, "2", "--ops", "all", "--case-seconds", "0.1",
                            "--out", str(tmp_path / "r")], stdout=subprocess.DEVNULL, umask=0o077,
                           env={**os.environ, "TMPDIR": str(tmp_path)})
    journal = tmp_path / "r" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_text().count('"status":"ok"') > 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    addresses = _listening([*pids, job.pid])
    job.terminate()
    job.wait(240)
    assert addresses, "nothing listens: the test looks at the wrong place"
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert addresses <= loopback, addresses
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["r"], "something was left in the folder for temporary files"
