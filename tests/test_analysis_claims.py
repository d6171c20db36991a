"""The page of public claims is what the shipped data say now, and each figure names a command that repeats it."""

import re
from pathlib import Path

import numpy as np
import pytest

from collbench.analysis.claims import all_claims
from collbench.analysis.claims.claim import CONTRADICTS, OPEN, SUPPORTS, against, range_of, span_of
from collbench.analysis.claims.show import page
from collbench.analysis.workload.price import KINDS

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def claims():
    return all_claims()


def test_the_page_is_up_to_date(claims):
    """Word for word; numbers within 5 %, because other releases of NumPy and SciPy round differently."""
    made, kept = page(claims), (ROOT / "docs" / "claims.md").read_text()
    assert NUMBER.sub("#", made) == NUMBER.sub("#", kept), "run make claims"
    values = [[float(value.replace(",", "")) for value in NUMBER.findall(text)] for text in (made, kept)]
    assert np.allclose(*values, rtol=0.05, atol=1.5), "run make claims"


def test_every_figure_says_what_it_is_and_how_to_repeat_it(claims):
    assert [claim.quote.split()[0] for claim in claims] == ["300", "Matches", "1,920", "30x", "A"]
    for claim in claims:
        assert claim.verdicts
        assert {verdict for verdict, _ in claim.verdicts} <= {SUPPORTS, CONTRADICTS, OPEN}
        for figure in claim.figures:
            assert any(kind in figure.kind for kind in KINDS), figure
            assert re.match(r"collbench (domains|project|extrapolate|workload)\b", figure.command)
            assert NUMBER.search(figure.value), figure


def test_a_verdict_follows_from_the_draws():
    draws = np.linspace(10, 20, 101)
    assert [against(draws, claimed) for claimed in (10, 15, 21)] == [SUPPORTS, OPEN, CONTRADICTS]
    assert span_of(draws) == "15 (10 to 20)"
    assert range_of([392, 350]) == "350 to 392"
    assert range_of([180, 180.2]) == "180"


@pytest.mark.slow
def test_the_commands_print_the_figures(claims, collbench):
    (claim,) = [claim for claim in claims if claim.quote.startswith("30x")]
    ratio = claim.figures[2]
    done = collbench(*ratio.command.split()[1:], COLUMNS="120")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    low, high = (float(value) for value in re.findall(r"\((\S+) to (\S+)\)", ratio.value)[0])
    found = re.search(r"per accelerator \S+ \((\S+) to (\S+)\)", words)
    assert found, words
    assert float(found[1]) == pytest.approx(low, rel=0.03)
    assert float(found[2]) == pytest.approx(high, rel=0.03)
