"""What is installed: one package, the same from a wheel, from an sdist and editable, whatever lies beside it."""

import ast
import email
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("collectives", "launch", "analysis")
NOT_SOURCES = (".git", ".venv", "build", "dist", "results", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
EXAMPLE = ROOT / "docs" / "examples" / "hgx-h100-8.csv"


def run(*words, cwd, python=sys.executable, **environment):
    """A Python program that sees none of the folders of this shell."""
    done = subprocess.run([str(python), *map(str, words)], cwd=cwd, text=True, capture_output=True, check=False,
                          env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), **environment})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def build(source, out, kind):
    """Build with the installed setuptools, without a network; returns the file."""
    out.mkdir(exist_ok=True)
    hook = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    return out / run("-c", hook, out, cwd=source).splitlines()[-1]


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel, sdist, unpacked sdist, wheel of the sdist and editable wheel of a copy of the tree."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    copytree(ROOT, tree, ignore=ignore_patterns(*NOT_SOURCES))
    left_over = tree / "build" / "lib" / "collbench" / "analysis" / "renamed_since.py"
    left_over.parent.mkdir(parents=True)
    left_over.write_text("")
    files = {"wheel": build(tree, folder / "wheel", "wheel"), "sdist": build(tree, folder / "sdist", "sdist")}
    run("-m", "tarfile", "-e", files["sdist"], folder / "unpacked", cwd=folder)
    (files["unpacked"],) = (folder / "unpacked").iterdir()
    files["sdist wheel"] = build(files["unpacked"], folder / "sdist wheel", "wheel")
    files["editable"] = build(tree, folder / "editable", "editable")
    files["tree"] = tree
    return files


def sources(tree):
    """Every file that belongs in the package, by its installed name."""
    found = {str(path.relative_to(tree)): path for path in (tree / "collbench").rglob("*")}
    found |= {f"collbench/{path.relative_to(tree)}": path for room in ROOMS for path in (tree / room).rglob("*")}
    found |= {f"collbench/{path.relative_to(tree)}": path for path in (tree / "docs" / "examples").glob("*.csv")}
    return {name: path for name, path in found.items()
            if path.is_file() and path.suffix not in (".pyc", ".so")}


def test_a_wheel_holds_one_package_with_every_module_and_data_file(built):
    inside = contents(built["wheel"])
    package = {name: content for name, content in inside.items() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in package} == {"collbench"}
    assert package == {name: path.read_bytes() for name, path in sources(built["tree"]).items()}
    (top,) = (content.decode().split() for name, content in inside.items() if name.endswith("top_level.txt"))
    assert top == ["collbench"]
    licences = {name.rpartition("/")[2] for name in inside if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_an_sdist_gives_the_same_wheel(built):
    assert contents(built["sdist wheel"]) == contents(built["wheel"])


def test_an_sdist_holds_what_make_and_the_tests_need(built):
    for folder in ("tests", "benchmarks", "tools", "docs", ".ci", ".github"):
        for path in (built["tree"] / folder).rglob("*"):
            if path.is_file():
                inside = built["unpacked"] / path.relative_to(built["tree"])
                assert inside.is_file(), f"{inside} is missing"
                assert inside.read_bytes() == path.read_bytes()
                assert inside.stat().st_mode & 0o111 == path.stat().st_mode & 0o111, f"{inside} must stay executable"
    for path in built["tree"].iterdir():
        if path.is_file() and path.name != ".gitignore":
            assert (built["unpacked"] / path.name).read_bytes() == path.read_bytes()
    out = run("launch/bootstrap.py", "--dry-run", cwd=built["unpacked"])
    assert "would install: collbench and its libraries" in out


def test_an_editable_install_holds_the_same(built, tmp_path):
    site = unpacked(built["editable"], tmp_path / "site")
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
             for name in contents(built["wheel"]) if name.endswith(".py")]
    data = [name for name in contents(built["wheel"])
            if ".dist-info" not in name and not name.endswith(".py") and not name.startswith("collbench/docs/")]
    probe = f"""import site, sys
site.addsitedir({str(site)!r})
sys.meta_path.insert(0, sys.meta_path.pop())     # the finder of this install, before another
sys.path += {dependencies()!r}
from importlib.resources import files
from importlib.util import find_spec
import collbench
print(collbench.__file__)
for name in {names!r}:
    assert find_spec(name), name
for name in {data!r}:
    package, _, rest = name.removeprefix("collbench/").partition("/")
    whole = files(f"collbench.{{package}}").joinpath(rest) if rest else files("collbench").joinpath(package)
    assert whole.is_file(), name"""
    assert run("-S", "-c", probe, cwd=tmp_path).strip() == str(built["tree"] / "collbench" / "__init__.py")


def dependencies():
    """Where this environment has other distributions."""
    return [entry for entry in sys.path if entry.endswith("-packages")]


def unpacked(wheel, site):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def strangers(folder):
    """Another distribution's modules under the names of our rooms; whoever imports one is found out."""
    for name in ("launch.py", "analysis/__init__.py", "collectives/__init__.py", "collectives/errors.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise SystemExit('a stranger was imported')")


@pytest.fixture(scope="module")
def beside_strangers(built, tmp_path_factory):
    """The Python of an environment that holds the wheel, and strangers in its site-packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    unpacked(built["wheel"], site)
    strangers(site)
    (site / "dependencies.pth").write_text("\n".join(dependencies()))     # they come after the folder itself
    return folder / "bin" / "python"


@pytest.mark.parametrize("words", [
    ("-m", "collbench", "--help"),
    ("-m", "collbench", "extrapolate", EXAMPLE, "--to", "72", "--json", "predictions.json"),
    ("-m", "collbench.rank", "--help"),
    ("-m", "collbench", "example"),
    ("-c", "import collbench; print(collbench.load(" + repr(str(EXAMPLE)) + ").points)"),
], ids=["help", "extrapolate", "rank", "example", "api"])
def test_strangers_in_site_packages_and_in_the_directory_change_nothing(beside_strangers, tmp_path, words):
    strangers(tmp_path)
    (tmp_path / "collbench").mkdir()        # a clone of the repository, say, in the directory where one works
    where = run("-c", "import collbench; print(collbench.__file__)", python=beside_strangers, cwd=tmp_path).strip()
    assert Path(where).is_relative_to(beside_strangers.parent.parent)
    run(*words, python=beside_strangers, cwd=tmp_path)
    if "example" in words:
        assert (tmp_path / EXAMPLE.name).read_bytes() == EXAMPLE.read_bytes()


def metadata(wheel):
    (text,) = (content.decode() for name, content in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(text)


def test_the_metadata_name_licence_authors_and_extras(built):
    known = metadata(built["wheel"])
    assert known["License-Expression"] == "Apache-2.0"
    assert known["Author"] == "The collbench authors"
    assert set(known.get_all("Provides-Extra")) == {"torch", "mpi", "mpi-runtime", "nvidia", "aiconfigurator", "plots",
                                                         "figures", "test", "schemas", "plugins", "docs", "dev"}


def test_every_import_of_another_distribution_is_a_declared_dependency(built):
    """Of the package, or of one of its extras."""
    names = {"vl_convert": "vl-convert-python", "pynvml": "nvidia-ml-py", "yaml": "pyyaml"}
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in metadata(built["wheel"]).get_all("Requires-Dist")}
    ours = {"collbench", *sys.stdlib_module_names, "tomllib", "torch_npu"}     # torch_npu comes with the machine
    for path in sources(built["tree"]).values():
        for node in ast.walk(ast.parse(path.read_text())) if path.suffix == ".py" else ():
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module] if isinstance(node, ast.ImportFrom) and not node.level else [])
            for top in {module.partition(".")[0] for module in modules} - ours:
                assert names.get(top, top) in declared, f"{path} imports {top}"
