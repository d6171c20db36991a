"""Tables on a terminal of 80 columns: they fit, and no figure of theirs is cut."""

import io
import re

import pandas as pd
import pytest

from collbench.analysis.compare import compare, match, sides
from collbench.analysis.compare import show as compare_show
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.forecast import extrapolate
from collbench.analysis.frames.load import load
from collbench.analysis.projection import project, versus
from collbench.analysis.projection import show as projection_show
from collbench.analysis.report import terminal
from collbench.analysis.text.safe_console import Screen

HEAD = "system,library,collective,dtype,n_ranks,message_bytes,time_us\n"
ROW = "8x H100,NCCL 2.29.2 (table nccl/2.29.2),reduce_scatter,float16,8,{size},{time}\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two measurements of three sizes; their times print with three digits and a unit, the widest that there is."""
    folder = tmp_path_factory.mktemp("narrow")
    for name, factor in (("a", 1), ("b", 1.3)):
        rows = (ROW.format(size=size, time=factor * (15.5 + size / 2e5)) for size in (512, 1 << 20, 1 << 29))
        (folder / f"{name}.csv").write_text(HEAD + "".join(rows))
    return folder / "a.csv", folder / "b.csv"


def forecast(files, console):
    points = load(files[0]).points
    terminal.show_forecast(points, extrapolate(points, [72, 384]), [72, 384], True, console)


def projection(files, console):
    domains, kept = load_domains(), {}
    frame = project(load(files[0]).points, ["nvl72", "cm384"], domains, kept=kept)
    lines = versus(kept, "nvl72", "cm384", domains, {"nvl72": 72, "cm384": 384})
    projection_show.show(frame, lines, domains, console)


def comparison(files, console):
    compare_show.show(compare(match(*(sides(str(file)) for file in files))), console)


@pytest.mark.parametrize("show", [forecast, projection, comparison])
def test_a_narrow_terminal_shows_every_figure_that_a_wide_one_does(files, show):
    narrow, wide = (shown(files, show, width) for width in (80, 200))
    assert "…" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert figures(wide) <= figures(narrow)


def shown(files, show, width):
    console = Screen(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    show(files, console)
    return console.file.getvalue()


def figures(text):
    """Numbers with a decimal point: times, rates and the ends of intervals."""
    return set(re.findall(r"\d+\.\d+", text))


def test_setting_up_communicators_is_not_projected(files):
    points = load(files[0]).points
    made = points.head(1).assign(op="comm_init", message_bytes=0, asked_bytes=0, dtype=None)
    frame = project(pd.concat([points, made]), ["nvl72"], load_domains()).set_index("op")
    assert frame.loc["comm_init", "kind"] == "refused"
    assert set(frame.loc["reduce_scatter", "kind"]) == {"projected"}
