"""Where the one installed package, `collbench`, comes from: its own folder and the three rooms beside it.

Everything else about the distribution is in pyproject.toml, which cannot say that a folder found under one name is
installed under another.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = ("collectives", "launch", "analysis")


class CleanBuild(build_py):
    """Build from nothing: a module that was renamed since the last build must not be installed again.

    The example measurements are added, which `collbench example` writes.
    """

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "collbench", ignore_errors=True)
        super().run()
        if not self.editable_mode:      # `collbench example` writes them
            examples = Path("docs", "examples")
            self.mkpath(str(Path(self.build_lib, "collbench", examples)))
            for file in examples.glob("*.csv"):
                self.copy_file(str(file), str(Path(self.build_lib, "collbench", file)))


setup(
    packages=["collbench", *(f"collbench.{package}" for room in ROOMS
                             for package in (room, *(f"{room}.{below}" for below in find_packages(room))))],
    package_dir={"collbench": "collbench", **{f"collbench.{room}": room for room in ROOMS}},
    cmdclass={"build_py": CleanBuild},
)
