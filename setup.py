"""Where the one installed package, `collbench`, comes from: its folder and the three rooms beside it.

Everything else about the distribution stands in pyproject.toml, which cannot say that a folder found under one name is
installed under another.
"""

from setuptools import find_packages, setup

ROOMS = ("collectives", "launch", "analysis")

setup(
    packages=["collbench", *(f"collbench.{package}" for room in ROOMS
                             for package in (room, *(f"{room}.{below}" for below in find_packages(room))))],
    package_dir={"collbench": "collbench", **{f"collbench.{room}": room for room in ROOMS}},
)
