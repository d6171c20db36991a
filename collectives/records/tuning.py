"""What a tuning run is made of and what it leaves behind: variants, the launches of its rounds, a directory of both.

    OUT/tune.json               a Tuning: what is compared
    OUT/launches.jsonl          a Launch per line, once it has ended
    OUT/launches/0001/...       the journal of launch 1, as of any other run
"""

from pathlib import Path

import msgspec

from ..errors import UsageError
from .record import Mode

__all__ = ["LAUNCHES_FILE", "REFERENCE", "RULES", "TUNING_FILE", "Launch", "Standing", "Tuning", "Variant",
           "launch_directory", "read_launches", "read_tuning"]

REFERENCE = "default"       # the variant without settings of its own, which all others are compared with
RULES = "rules"             # the file that was written, measured again

TUNING_FILE, LAUNCHES_FILE = "tune.json", "launches.jsonl"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One way to carry out operations: settings that are read at start, and what starts.

    Args:
        name: unique, without spaces and commas.
        settings: environment variables.
        ops: operations that it concerns; empty for all.
        ranks: the only rank counts at which it works; empty for all.
        transport, backend: as for `collbench run`.
        python: the interpreter, and with it the MPI, if it is not this one.
        graph: capture the calls of a sample as a graph and replay it.
    """

    name: str
    settings: dict[str, str] = {}
    ops: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    transport: str = "torch"
    backend: str | None = None
    python: str = ""
    graph: bool = False

    def concerns(self, op: str) -> bool:
        """Whether it may differ from the reference in this operation."""
        return not self.ops or op in self.ops

    def starts_like(self, other: "Variant") -> bool:
        """Whether both can be measured by one start of the ranks, as far as the settings allow."""
        return ((self.transport, self.backend, self.python, self.graph)
                == (other.transport, other.backend, other.python, other.graph))


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared.

    Args:
        job_ranks: ranks of every launch; `ranks` are the sizes of the groups in it that are measured.
        dtype, mode: of all cases.
        seed: for the order of the launches.
        notes: remarks on what is compared, a clause each.
    """

    variants: tuple[Variant, ...]
    ops: tuple[str, ...]
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    job_ranks: int
    dtype: str = "float32"
    mode: Mode = "streamed"
    case_s: float = 0.25
    device: str = "auto"
    seed: int = 0
    command: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def variant(self, name: str) -> Variant:
        """The variant of this name."""
        return next(variant for variant in self.variants if variant.name == name)


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the ranks, after its end.

    Args:
        number: its directory is launches/NUMBER with four digits.
        round: launches of one round are compared with each other.
        variants: by operation, the name of the variant that it was carried out by.
        proof: of the second measurement, of the reference and the written rules: which rules those were; empty for the
            race.
        status: exit status.
        wall_s: from start to end.
    """

    number: int
    round: int
    variants: dict[str, str]
    proof: str = ""
    status: int
    wall_s: float

    def directory(self, out: Path) -> Path:
        """Of its journal."""
        return launch_directory(out, self.number)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is still to be measured.

    Args:
        open: by operation and variant, the sizes that were asked for and rank counts; empty when all is decided.
        words: how far it is, as a clause.
    """

    open: dict[str, dict[str, list[tuple[int, int]]]]
    words: str


def launch_directory(out: Path, number: int) -> Path:
    """Of the journal of a launch, whether it has ended or not."""
    return out / "launches" / f"{number:04d}"


def read_tuning(out: Path) -> Tuning:
    """What the tuning run in `out` compares. UsageError if there is none."""
    path = out / TUNING_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tuning)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: {out} is not the directory of a collbench tune") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not from this version of collbench tune: {error}") from None


def read_launches(out: Path) -> list[Launch]:
    """The launches that have ended, in their order; a line cut short, by a full disk for instance, is left out."""
    try:
        lines = (out / LAUNCHES_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{out / LAUNCHES_FILE}: {error.strerror}") from None
    launches = []
    for line in lines:
        try:
            launches.append(msgspec.json.decode(line, type=Launch))
        except msgspec.DecodeError:
            continue
    return launches
