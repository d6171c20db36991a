"""perftest of linux-rdma (ib_write_bw, ib_send_lat, ...): text tables and the JSON of `--out_json`.

The unit of a bandwidth is in the header: MiB/sec, which versions before 6 call MB/sec (both are 2^20 bytes per second),
or Gb/sec (10^9 bits). A bidirectional test prints the sum of both directions. A latency is half a round trip, but for
reads and atomics, which the peer does not answer, a whole one (print_report_lat in src/perftest_parameters.c).
"""

import re
from dataclasses import dataclass

from collbench.collectives.records.record import Imported

from .shared.claims import is_heading, table_lines
from .shared.collector import ROOT, Collector, Origin
from .shared.json_text import documents
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, whole

__all__ = ["TITLE", "claims", "read", "recognise"]

TITLE = "perftest"

_MARK = re.compile(r"#bytes\s+(?:#sl\s+)?#iterations\s+(?:BW peak\[|t_\w+\[)|"
                   r"\"test\"\s*:\s*\"\w{1,60}_(?:BW|Latency)_\w*Test\"")
_TEST = re.compile(r"(BW|Latency)[ _](?:\w{1,20}[ _])?Test\b")
_SETTING = re.compile(r"\b(Number of qps|Connection type)\s*:\s*(\w{1,20})")
_NAME = re.compile(r"#bytes|#sl|#iterations|(?:BW (?:peak|average|Port\d)|t_\w+|[\d.]{2,6}% percentile)\[[\w/]+\]|"
                   r"MsgRate(?: Port\d)?\[Mpps\]|tps average|CPU_Util\[%{1,2}\]")
_HEADER = re.compile(r"^[\s|>]*#bytes\s+(?:#sl\s+)?#iterations\s")
_LINE = re.compile(r"[\s>|]*-{20,}\s*$")
_UNITS = {"MB/sec": 2**20, "MiB/sec": 2**20, "Gb/sec": 1.25e8}
_VERBS = {"RDMA_Write": "RDMA write", "RDMA_Read": "RDMA read", "Write": "RDMA write", "Read": "RDMA read"}


@dataclass
class _Test:
    """One test: the verb, whether both sides send, and the settings that must not be mixed."""

    verb: str = ""
    both_ways: bool = False
    qps: str | None = None
    connection: str | None = None
    columns: tuple[str, ...] = ()
    run: str = ""


def recognise(text: str) -> bool:
    """Whether `text` has a header or a JSON report of these programs."""
    return bool(_MARK.search(text))


def claims(log: Log) -> set[int]:
    """Lines of the tables, whose header begins like that of Intel MPI Benchmarks."""
    return table_lines(log.lines, _HEADER, _HEADER)


def read(log: Log, collector: Collector) -> None:
    """Add every row of every table, and every JSON report."""
    test = _Test()
    for line in log.lines:
        text = line.text
        if _TEST.search(text) and '"' not in text:
            test = _titled(text)
        elif _HEADER.match(text):
            test = _Test(test.verb, test.both_ways, test.qps, test.connection, tuple(_NAME.findall(text)))
            _row(collector, test, line.number, _NAME.sub("", text))     # a row that a wrapped header runs into
        elif test.columns and (_LINE.match(text) or is_heading(text)):
            test.columns = ()
        elif test.columns:
            _row(collector, test, line.number, text)
        else:
            _settings(test, dict(_SETTING.findall(text)))
    for number, document in documents(log.text):
        if isinstance(document, dict) and isinstance(document.get("test_info"), dict):
            _report(collector, number, document["test_info"], document.get("results"))


def _titled(text: str) -> _Test:
    """The test that a title names, such as `RDMA_Write Bidirectional BW Test`."""
    words = re.split(r"[ _]+", text[:text.index("Test")].replace("RDMA_", "RDMA-").strip(" -*|>"))
    verb = words[0].replace("RDMA-", "RDMA_")
    return _Test(_VERBS.get(verb, verb.lower()), "Bidirectional" in words)


def _settings(test: _Test, settings: dict[str, str]) -> None:
    test.qps = settings.get("Number of qps", test.qps)
    test.connection = settings.get("Connection type", test.connection)


def _row(collector: Collector, test: _Test, line: int, text: str) -> None:
    """Add a row: as many numbers as the header has columns."""
    fields = text.strip(" \t|>").split()
    if not fields or not (fields[0][:1].isdigit() or len(fields) == len(test.columns)):
        return
    collector.rows += 1
    cells = {name: number for name, cell in zip(test.columns, fields, strict=False) if (number := printed_number(cell))}
    size, calls = whole(fields[0]), cells.get("#iterations")
    more = fields[len(test.columns):]
    if more and not any(printed_number(field) is None for field in fields):
        collector.warn(line, f"{len(fields)} cells under {len(test.columns)} column names: the last left out")
        fields = fields[:len(test.columns)]
    if len(fields) != len(test.columns) or len(cells) != len(fields) or size is None or not calls:
        collector.warn(line, f"row skipped: expected {len(test.columns)} numbers: {', '.join(test.columns)}")
        return
    rate_name = next((name for name in cells if name.startswith("BW average")), None)
    if rate_name is None:
        _latency(collector, test, line, size, int(calls.value),
                 {name.partition("[")[0]: number for name, number in cells.items()})
        return
    scale = _UNITS.get(rate_name[len("BW average["):-1])
    if scale is None:
        collector.warn(line, f"row skipped: {rate_name} has an unknown unit")
        return
    _bandwidth(collector, test, line, size, int(calls.value), cells[rate_name], scale, cells.get("MsgRate[Mpps]"))


def _report(collector: Collector, line: int, about: dict[str, object], results: object) -> None:
    """Add a JSON report, which does not state the unit: it follows from size and message rate."""
    collector.rows += 1
    test = _titled(str(about.get("test", "")) + " Test")
    _settings(test, {"Number of qps": str(about.get("Number_of_qps")), "Connection type":
                     str(about.get("Connection_type"))})
    cells = {name: number for name, value in (results.items() if isinstance(results, dict) else ())
             if (number := printed_number(str(value)))}
    size, calls, rate = cells.get("MsgSize"), cells.get("n_iterations"), cells.get("MsgRate")
    if size and calls and (average := cells.get("BW_average")) and rate:
        scales = [scale for scale in (2**20, 1.25e8) if _same_rate(size.value, rate, average, scale)]
        if len(scales) == 1:
            _bandwidth(collector, test, line, int(size.value), int(calls.value), average, scales[0], rate)
            return
    elif size and calls and "t_avg" in cells:
        _latency(collector, test, line, int(size.value), int(calls.value), cells)
        return
    collector.warn(line, "report skipped: no size, number of calls, and latency or bandwidth with a known unit")


def _same_rate(size: float, rate: PrintedNumber, average: PrintedNumber, scale: float) -> bool:
    """Whether messages of `size` at `rate` million per second are the bandwidth `average`, within rounding."""
    per_second = PrintedNumber(rate.value * 1e6, rate.error * 1e6)
    if per_second.value <= 0:
        return False
    time = PrintedNumber(1 / per_second.value, per_second.error / per_second.value**2)
    return misfit(size, time, PrintedNumber(average.value * scale, average.error * scale)) is None


def _bandwidth(collector: Collector, test: _Test, line: int, size: int, calls: int, average: PrintedNumber,
               scale: float, rate: PrintedNumber | None) -> None:
    """Add a bandwidth, unless the message rate contradicts it: the time depends on it alone."""
    if average.value <= 0:
        collector.warn(line, "row skipped: no bandwidth above zero")
        return
    if rate and rate.value > 0 and not _same_rate(size, rate, average, scale):
        collector.warn(line, "row skipped: BW average is not size times MsgRate")
        return
    both = 2 if test.both_ways else 1       # the sum of both directions: a message each way in the time of one
    _add(collector, test, line, "bi_bandwidth" if test.both_ways else "bandwidth", size, calls,
         both * size / (average.value * scale), "mean over a batch", average.value * scale,
         notes=("time computed from BW average",))


def _latency(collector: Collector, test: _Test, line: int, size: int, calls: int,
             cells: dict[str, PrintedNumber]) -> None:
    """Add a latency: the median, or the mean where the tool prints no other."""
    median = cells.get("t_typical")
    time = median or cells.get("t_avg")
    if not time or time.value <= 0:
        collector.warn(line, "row skipped: no latency above zero")
        return
    answered = test.verb not in ("RDMA read", "atomic")
    p99 = cells.get("99% percentile") or cells.get("percentile_99")
    _add(collector, test, line, "ping_pong" if answered else f"{test.verb} latency", size, calls, time.value / 1e6,
         "median over calls" if median else "mean over calls", None,
         p50_s=median.value / 1e6 if median else None, p99_s=p99.value / 1e6 if p99 else None)


def _add(collector: Collector, test: _Test, line: int, op: str, size: int, calls: int, time_s: float, statistic: str,
         busbw_Bps: float | None, notes: tuple[str, ...] = (), p50_s: float | None = None,
         p99_s: float | None = None) -> None:
    if not test.run:
        test.run = collector.run(Origin("perftest", library="libibverbs, version not stated", ranks=2))
    words = [test.verb or None, test.connection, f"{test.qps} qps" if test.qps not in (None, "1", "None") else None]
    collector.add(Imported(
        run=test.run, op=op, ranks=2, message_bytes=size, native_size_bytes=size,
        mode="isolated" if busbw_Bps is None else "streamed", time_s=time_s, statistic=f"one side, {statistic}",
        time_kind=ROOT, repeats=calls, p50_s=p50_s, p99_s=p99_s, busbw_Bps=busbw_Bps, notes=notes,
        variant=";".join(word for word in words if word) or None, source=collector.source(line)))
