"""The rooms and their doors: who may import whom, and what an import brings along."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("collectives", "launch", "analysis")

# Floors of each room, lowest first: a module imports from its own place and from the floors below it, whether at the
# top of the file, inside a function or for a type checker. Places on one floor do not import each other.
FLOORS = {
    "collectives": (
        ("errors", "text", "transport_names", "device_files", "row_math"),
        ("cases", "statistics", "native", "topology"),
        ("records", "library_log"),
        ("interfaces",),
        ("parts",),
        ("ranks", "loop"),
        ("watchdog",),
        ("transports",),
        ("option_types",),
        ("option_groups",),
        ("options",),
        ("program",),
    ),
    "launch": (
        ("torch_wheels",),
        ("render_options", "script_lines", "pod_needs", "workload", "allocation", "job_tmpdir", "kept_journal", "relay",
         "bootstrap"),
        ("job", "device_choice"),
        ("manifests", "batch_script"),
        ("launchers",),
        ("presets", "supervise"),
        ("library_log",),
        ("bench", "doctor", "fleet"),
        ("tune",),
        ("shared_options", "pod_options"),
        ("data_arguments", "ci_output"),
        ("commands",),
        ("cli",),
    ),
    "analysis": (
        ("text",),
        ("domains", "importers"),
        ("frames",),
        ("cost",),
        ("models",),
        ("projection",),
        ("forecast",),
        ("findings",),
        ("links", "assess", "compare", "backtest", "simulate", "export"),
        ("contributed", "expect", "history", "tune", "workload"),
        ("fleet",),
        ("report", "claims"),
        ("__main__",),
    ),
}

# What other rooms may see of the rank program: what reads and writes its files, and what describes a request.
LIGHT = ("cases", "errors", "library_log", "records", "statistics", "transport_names")
# What the public API is made of; the two programs beside it start the command line and the rank program.
API_SEES = ("analysis.compare", "analysis.cost.cards", "analysis.domains.facts", "analysis.findings.finding",
            "analysis.forecast", "analysis.frames.load", "analysis.frames.pool", "analysis.importers",
            "analysis.models", "analysis.projection", "analysis.report", "collectives.errors",
            "collectives.records.record")
COLLBENCH_SEES = {"__init__": ("collectives.errors",), "_results": API_SEES, "__main__": ("launch.cli",),
                  "rank": ("collectives.program.rank",)}
LAUNCH_SEES = (*LIGHT, "device_files", "native.build", "option_groups", "option_types", "options", "ranks", "topology",
               "program.rank", "program.fork")


@cache
def modules(room):
    """Dotted name -> file, of every module of a room."""
    found = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def imported(path):
    """What a file imports, as dotted names without `collbench.`; modules spelt out, wherever the import stands."""
    package = list(path.relative_to(ROOT).parent.parts)
    known = {name for room in ROOMS for name in modules(room)}
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            stem = ".".join(filter(None, (*base, node.module)))
            for alias in node.names:
                whole = f"{stem}.{alias.name}".removeprefix("collbench.")
                names.append(whole if whole in known else stem.removeprefix("collbench."))
    return tuple(dict.fromkeys(names))


def floor_of(room, module):
    """Number and name of the place that a module belongs to; the room's own `__init__` sees everything."""
    place = module.split(".")[1] if "." in module else "__init__"
    if place == "__init__":
        return len(FLOORS[room]), place
    for number, places in enumerate(FLOORS[room]):
        if place in places:
            return number, place
    raise AssertionError(f"{module} is on no floor of {room}: give it a place in FLOORS")


def every_module():
    return [(room, name) for room in ROOMS for name in modules(room)]


@pytest.mark.parametrize(("room", "name"), every_module(), ids=lambda value: value)
def test_imports_point_down(room, name):
    here, place = floor_of(room, name)
    for other in imported(modules(room)[name]):
        if other.partition(".")[0] != room:
            continue
        there, target = floor_of(room, other)
        assert target == place or there < here, f"{name} imports {other}, which is not below it"


def packages(room):
    """Package -> packages that it imports, for every folder of a room that holds modules."""
    graph = {}
    folders = {name for name, path in modules(room).items() if path.name == "__init__.py"}
    for name, path in modules(room).items():
        home = name if name in folders else name.rpartition(".")[0]
        for other in imported(path):
            if other in modules(room):
                target = other if other in folders else other.rpartition(".")[0]
                if target != home and not target.startswith(home + ".") and not home.startswith(target + "."):
                    graph.setdefault(home, set()).add(target)
    return graph


@pytest.mark.parametrize("room", ROOMS)
def test_no_packages_import_each_other_in_a_circle(room):
    graph, done = packages(room), set()

    def visit(node, trail):
        assert node not in trail, f"circle: {' -> '.join([*trail[trail.index(node):], node])}"
        if node not in done:
            for target in sorted(graph.get(node, ())):
                visit(target, [*trail, node])
            done.add(node)

    for node in sorted(graph):
        visit(node, [])


@pytest.mark.parametrize(("room", "name"), every_module(), ids=lambda value: value)
def test_rooms_and_libraries_stay_behind_their_doors(room, name):
    path = modules(room)[name]
    for other in imported(path):
        top, _, rest = other.partition(".")
        if top in ("torch", "mpi4py"):
            assert path.parent.name == "transports", f"{name} imports {other}, which belongs in collectives/transports"
            assert path.name.startswith(top.removesuffix("4py")), f"{name} imports {other}"
        elif top in ROOMS and top != room:
            assert room != "collectives", f"{name} imports {other}"
            seen = LIGHT if room == "analysis" else LAUNCH_SEES
            if top == "collectives":
                assert any(rest == door or rest.startswith(door + ".") for door in seen), f"{name} imports {other}"
            else:
                assert top == "analysis", f"{name} imports {other}"
                doors = ("shared_options.py", "data_arguments.py", "ci_output.py")
                assert path.parent.name == "commands" or path.name in doors, f"{name} imports {other}"


@pytest.mark.parametrize("name", COLLBENCH_SEES)
def test_the_public_package_sees_public_modules_only(name):
    for other in imported(ROOT / "collbench" / f"{name}.py"):
        if other.partition(".")[0] in ROOMS:
            doors = COLLBENCH_SEES[name]
            assert any(other == door or other.startswith(door + ".") for door in doors), f"{name} imports {other}"


def test_every_module_of_the_public_package_has_doors():
    assert {path.stem for path in (ROOT / "collbench").glob("*.py")} == set(COLLBENCH_SEES)


@pytest.mark.parametrize("package", ["collbench", *(f"collbench.{room}" for room in ROOMS)])
def test_importing_a_room_brings_no_communication_library(package):
    probe = f"import sys, {package}; sys.exit(bool({{'torch', 'mpi4py'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", probe], check=True)


@pytest.mark.parametrize("absent", [("torch", "mpi4py"), ("fcntl", "resource", "termios", "pwd", "grp")],
                         ids=["laptop", "windows"])
def test_analysis_imports_without(absent):
    """Every module of the room, with these made impossible to import."""
    names = [f"collbench.{name}" for name in modules("analysis") if not name.endswith("__main__")]
    probe = f"""import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name)
for name in {absent}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
import {', '.join(names)}"""
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_public_names_are_listed():
    for room, name in every_module():
        path = modules(room)[name]
        tree = ast.parse(path.read_text())
        if path.name == "__main__.py" or len(tree.body) <= 1:
            continue
        assigned = {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
        assert "__all__" in assigned, f"{path}: no __all__"
