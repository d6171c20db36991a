"""Domain data: names, key figures, consistency between figures, and invalid files."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.analysis.domains.facts import Fact, Figure, domain_named, figures_of, load_domains
from collbench.collectives.errors import UsageError

DOMAINS = load_domains()

# Domains by the names that published tables use: accelerators; one-way rate and highest rate of one pair in GB/s; dense
# BF16 in TFLOP/s; in-network reduction. None: no source found.
KNOWN = {
    "gb200_nvl72": (72, 900, 900, 2500, True), "gb300_nvl72": (72, 900, 900, 2500, True),
    "vera_rubin_nvl72": (72, 1800, None, None, True), "rubin_ultra_nvl576": (576, None, None, None, None),
    "cloudmatrix384": (384, 392, 392, 752, None), "atlas950_superpod_1024": (1024, 840, None, None, None),
    "atlas950_superpod_8192": (8192, None, None, None, None), "atlas960_superpod": (15488, None, None, None, None),
    "atlas_800_a2": (8, 196, 28, None, False), "dgx_a100_8": (8, 300, 300, None, False),
    "hgx_h100_8": (8, 450, 450, 989.5, True), "hgx_h200_8": (8, 450, 450, 989.5, True),
    "hgx_b200_8": (8, 900, 900, 2250, True), "hgx_b300_8": (8, 900, 900, None, True),
    "h800_8": (8, 200, None, 989.43, True),
    "mi300x_8": (8, 448, 64, None, False), "mi325x_8": (8, 448, 64, None, False),
    "mi350x_8": (8, 535.5, 76.5, None, False), "mi250x_8": (None, 350, 50, None, False),
    "mi455x": (None, 1800, None, None, None), "gaudi2_8": (8, 300, 37.5, None, False),
    "gaudi3_8": (8, 600, 75, None, False), "tpu_v4p": (4096, 270, 45, 275, False),
    "tpu_v5p": (8960, 540, 90, 459, False), "tpu_v5e": (256, 180, 45, 197, False),
    "tpu_v6e": (256, 360, 90, 920, False), "tpu7x_ironwood": (9216, 600, 100, 2307, None),
    "trn2_16": (16, 512, 128, None, False), "trn2_ultra_64": (64, 640, 128, None, False),
    "pcie_gen4_x16": (None, 31, 31, None, False), "pcie_gen5_x16": (None, 63, 63, None, False),
    "pcie_gen6_x16": (None, 121, 121, None, False), "pcie_gen7_x16": (None, 242, 242, None, False),
    "ualink_200g_1_0": (None, None, None, None, None),
}


def value(figure, scale=1.0):
    return None if figure is None else figure.value / scale


@pytest.mark.parametrize("name", KNOWN)
def test_figures_match_the_sources(name):
    domain = DOMAINS[domain_named(name, DOMAINS)]
    outer = domain.tiers[-1] if domain.tiers else None
    found = (value(domain.accelerators), value(outer and outer.rate_Bps, 1e9), value(outer and outer.pair_Bps, 1e9),
             value(domain.dense_bf16_flops, 1e12), domain.in_network_reduction and domain.in_network_reduction.value)
    assert found == pytest.approx(KNOWN[name]), "accelerators, one way, one pair, BF16, in-network reduction"


def test_every_domain_is_listed_here_and_names_are_unambiguous():
    assert {domain_named(name, DOMAINS) for name in KNOWN} == set(DOMAINS)
    names = [*DOMAINS, *(alias for domain in DOMAINS.values() for alias in domain.aliases)]
    assert len(names) == len({re.sub(r"[^a-z0-9]", "", name.lower()) for name in names})


def test_measured_figures_and_conflicts_are_kept():
    nvl72, cm384 = DOMAINS["nvl72"], DOMAINS["cm384"]
    assert (nvl72.all_reduce_ring_busbw_Bps.value, nvl72.all_reduce_ring_busbw_Bps.ranks) == (680e9, 32)
    assert nvl72.all_reduce_in_network_busbw_Bps.value == 850e9
    assert nvl72.all_to_all_busbw_Bps.value == 640e9
    assert DOMAINS["hgx_h100_8"].all_to_all_busbw_Bps.all_values() == (348.03e9, 320e9)
    assert nvl72.power_W.all_values() == (145e3, 120e3)
    assert cm384.power_W.all_values() == (559e3, 600e3)
    assert cm384.dense_bf16_flops.all_values() == (752e12, 780e12, 800e12)
    assert [tier.rate_Bps.all_values() for tier in cm384.tiers[1:]] == [(392e9, 350e9)] * 2
    assert [round(tier.latency_s.value * 1e9) for tier in cm384.tiers] == [218, 929, 2500]
    assert [tier.accelerators for tier in cm384.tiers] == [1, 8, 384]
    assert nvl72.tiers[0].latency_s is None, "nobody published one"
    assert DOMAINS["vera_rubin_nvl72"].tiers[0].rate_Bps.all_values() == (1800e9, 1500e9)
    assert cm384.point_to_point_latency_s.message_bytes == 512


@pytest.mark.parametrize("key", DOMAINS)
def test_figures_agree_with_each_other(key):
    domain = DOMAINS[key]
    outer = domain.tiers[-1] if domain.tiers else None
    rate = outer.rate_Bps if outer else None
    if domain.links_per_accelerator and domain.link_Bps and rate:
        in_all = domain.links_per_accelerator.value * domain.link_Bps.value
        assert any(in_all == pytest.approx(each, rel=1e-3) for each in rate.all_values()), "links x rate of a link"
    if domain.two_way_Bps and rate:
        assert any(2 * one == pytest.approx(two, rel=1e-3) for one in rate.all_values()
                   for two in domain.two_way_Bps.all_values()), "both directions are twice one way"
    if domain.aggregate_two_way_Bps and rate:
        assert any(2 * one * domain.accelerators.value == pytest.approx(total, rel=0.01) for one in rate.all_values()
                   for total in domain.aggregate_two_way_Bps.all_values()), "the sum over accelerators"
    if domain.hosts and domain.accelerators_per_host and domain.accelerators:
        assert domain.hosts.value * domain.accelerators_per_host.value == domain.accelerators.value
    if outer and outer.pair_Bps:
        assert outer.pair_Bps.value <= rate.value, "a pair is no faster than an accelerator"
        if outer.topology == "mesh" and outer.accelerators:
            assert any(outer.pair_Bps.value * (outer.accelerators - 1) == pytest.approx(each)
                       for each in rate.all_values()), "a mesh has a link to every other accelerator"
    for name in ("point_to_point_Bps", "all_to_all_busbw_Bps", "all_reduce_ring_busbw_Bps"):
        if rate and (measured := getattr(domain, name)):
            assert 0.1 < measured.value / rate.value < 1, f"{name} is a share of the nominal rate"


def test_cloudmatrix_planes_match_its_accelerators_in_bandwidth():
    rate = DOMAINS["cm384"].tiers[1].rate_Bps.value
    assert 8 * rate == 7 * 448e9
    assert 384 * rate == 7 * 16 * 48 * 28e9


@pytest.mark.parametrize("key", DOMAINS)
def test_every_figure_has_a_source_a_grade_and_a_sane_unit(key):
    least = {"Bps": 1e9, "flops": 1e13, "bytes": 1e10, "W": 1e4, "s": 1e-8}
    most = {"Bps": 1e17, "flops": 1e17, "bytes": 1e12, "W": 1e7, "s": 1e-4}
    for path, figure in figures_of(DOMAINS[key]):
        assert figure.grade in ("primary", "secondary", "derived"), path
        assert len(figure.source) >= 5, path
        if isinstance(figure, Figure):
            unit = path.rpartition("_")[2]
            assert least.get(unit, 1) <= figure.value <= most.get(unit, 2e4), path
            assert all(other.source and other.value != figure.value for other in figure.alternatives), path
        else:
            assert isinstance(figure, Fact)


@given(st.sampled_from([*KNOWN, *DOMAINS]), st.sampled_from("-_ ."), st.booleans())
def test_names_ignore_case_and_punctuation(name, sign, upper):
    spelt = name.replace("_", sign)
    assert domain_named(spelt.upper() if upper else spelt, DOMAINS) == domain_named(name, DOMAINS)


def test_unknown_name_is_a_one_line_error_with_suggestions():
    with pytest.raises(UsageError, match=r"no domain 'cloudmatix'.*did you mean cm384") as raised:
        domain_named("cloudmatix")
    assert "\n" not in str(raised.value)


FIGURE = "{value=9,source='s',grade='primary'}"


@pytest.mark.parametrize(("text", "message"), [
    ("[x", "own.toml"), ("x = 3", "domain x: Expected `object`"),
    ("[x]\nname='a'", "domain x: Object missing required field `fabric`"),
    ("[x]\nname='a'\nfabric='f'\npower_W={value='9',source='s',grade='primary'}", "at `$.power_W.value`"),
    ("[x]\nname='a'\nfabric='f'\npower_W={value=-1,source='s',grade='primary'}", "must be above 0, not -1"),
    ("[x]\nname='a'\nfabric='f'\npower_W={value=nan,source='s',grade='primary'}", "must be above 0, not nan"),
    ("[x]\nname='a'\nfabric='f'\npower_W={value=9,grade='primary'}", "missing required field `source`"),
    ("[x]\nname='a'\nfabric='f'\npower_W={value=9,source='s',grade='sure'}", "Invalid enum value 'sure'"),
    (f"[x]\nname='a'\nfabric='f'\naccelerators={FIGURE}\n[[x.tiers]]\nname='t'\naccelerators=8", "end with all 9"),
    ("[x]\nname='a'\nfabric='f'\n[[x.tiers]]\nname='t'\naccelerators=8", "also of unknown size"),
    (f"[x]\nname='a'\nfabric='f'\naccelerators={FIGURE}\n[[x.tiers]]\nname='t'\naccelerators=9\ntopology='star'",
     "at `$.tiers[0].topology`"),
])
def test_invalid_file_is_a_one_line_error_with_file_domain_and_field(tmp_path, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        load_domains(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_command_lists_shows_and_reads_a_user_file(collbench, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(f"[mine]\nname='Mine'\nfabric='rings'\naccelerators={FIGURE}\n")
    listed = collbench("domains", "--domain-file", own)
    assert listed.returncode == 0, listed.stderr
    assert all(key in listed.stdout for key in (*DOMAINS, "mine"))
    assert "arXiv:2506.12708" in listed.stdout
    shown = collbench("domains", "cloudmatrix384")
    for words in ("392 GB/s", "or 350 GB/s", "929 ns", "secondary", "SemiAnalysis", "no source found for"):
        assert words in shown.stdout
    facts = json.loads(collbench("domains", "gb200_nvl72", "--json", "-").stdout)["domains"]
    assert list(facts) == ["nvl72"]
    assert facts["nvl72"]["tiers"][0]["rate_Bps"]["value"] == 900e9
    unknown = collbench("domains", "nvl73")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "did you mean nvl72" in unknown.stderr


def test_control_characters_in_a_domain_of_ones_own_are_escaped(tmp_path):
    """Its name stands in captions of figures."""
    (tmp_path / "mine.toml").write_text('[mine]\nname = "a\\u0007\\uFFFFb"\nfabric = "one\\ntwo"\n')
    mine = load_domains(tmp_path / "mine.toml")["mine"]
    assert (mine.name, mine.fabric) == (r"a\x07\uffffb", "one\ntwo")
