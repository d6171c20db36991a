"""The rooms and their doors: who may import whom, what imports bring along, and what a wheel holds."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIGHT = {f"collectives.{name}" for name in ("cases", "catalog", "digest", "errors", "journal", "records", "stability",
                                            "stopping")}
PACKAGES = ("collectives", "launch", "analysis")


def modules():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    """Absolute names of what a file imports, `from package import module` spelt out."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1] if node.level else [])
            stem = ".".join(filter(None, (base, node.module)))
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def within(name, allowed):
    return any(name == one or name.startswith(one + ".") for one in allowed)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        other = name.partition(".")[0]
        if other == "torch":
            assert path.parent.name == "transports", f"{name} belongs in collectives/transports"
            assert path.name.startswith("torch")
        elif other == "mpi4py":
            assert path.parent.name == "transports", f"{name} belongs in collectives/transports"
            assert path.name.startswith("mpi")
        elif other in PACKAGES and other != room:
            assert room != "collectives", f"collectives imports {name}"
            if room == "analysis":
                assert within(name, LIGHT), f"analysis imports {name}"
            elif other == "analysis":
                assert path.parent.name == "commands" or path.name == "shared_options.py", f"{path.name} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_room_brings_no_communication_library(package):
    probe = f"import sys, {package}; sys.exit(bool({{'torch', 'mpi4py'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_analysis_works_without_torch_and_mpi4py(tmp_path):
    """On a laptop: every module of the room, with the two libraries made impossible to import."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "analysis").rglob("*.py")
             if path.name not in ("__main__.py", "__init__.py")]
    probe = f"""import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "mpi4py"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import {', '.join(names)}"""
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_a_wheel_holds_the_three_rooms_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                    "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
    assert "analysis/domains.toml" in names
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def test_public_names_are_listed_and_exist():
    for path in modules():
        tree = ast.parse(path.read_text())
        if path.name == "__main__.py" or len(tree.body) <= 1:
            continue
        assigned = {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
        assert "__all__" in assigned, f"{path}: no __all__"
