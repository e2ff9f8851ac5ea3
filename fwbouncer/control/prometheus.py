"""What Prometheus reads: the daemon's figures in the exposition format.

The metrics that begin with fw_bouncer_ and lapi_ have the incumbent's names, labels and types, so that its
dashboards and alerts go on working. That makes gauges of what only ever grows; `rate` takes them all the same.

The library costs time and memory: whoever imports this module has somebody who wants metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from fwbouncer.core.model import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from fwbouncer.control.figures import Figures
    from fwbouncer.core.latency import Latency
    from fwbouncer.core.tally import Traffic

    # What the labels say -> the value.
    Values = Mapping[tuple[str, ...], float]
    Traffics = Mapping[tuple[str, ...], Traffic]
    Make = Callable[[str, str, tuple[str, ...], Values], Metric]

_IP_TYPE = {Family.V4: "ipv4", Family.V6: "ipv6"}
_ORIGIN, _FAMILY = ("origin", "ip_type"), ("ip_type",)


def exposition(figures: Figures, accept: str) -> tuple[str, bytes]:
    """Write the page; returns its content type, by what the reader accepts, and its text."""
    encode, content_type = choose_encoder(accept)
    page: Any = _Page(figures)  # all that an encoder asks a registry for is `collect`
    return content_type, encode(page)


class _Page:
    """Collects metric families, as a registry does."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for part in (_packets, _lapi, _bans, _kernel, _process):
            yield from part(self._figures)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    found = GaugeMetricFamily(name, text, labels=labels)
    for each, value in values.items():
        found.add_metric(each, value)
    return found


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _counters(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    found = CounterMetricFamily(name, text, labels=labels)
    for each, value in values.items():
        found.add_metric(each, value)
    return found


def _histogram(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], Latency]
) -> Metric:
    found = HistogramMetricFamily(name, text, labels=labels)
    for each, latency in values.items():
        found.add_metric(each, latency.buckets(), latency.total)
    return found


def _both(make: Make, name: str, text: str, labels: tuple[str, ...], values: Traffics) -> Iterator[Metric]:
    """Make two families, of packets and of bytes."""
    packets = {each: float(traffic.packets) for each, traffic in values.items()}
    octets = {each: float(traffic.bytes) for each, traffic in values.items()}
    yield make(f"{name}_packets", f"Packets {text}", labels, packets)
    yield make(f"{name}_bytes", f"Bytes {text}", labels, octets)


def _packets(figures: Figures) -> Iterator[Metric]:
    banned: Values = {(origin, _IP_TYPE[family]): n for (origin, family), n in figures.banned.items()}
    yield _gauges("fw_bouncer_banned_ips", "Addresses and networks that are banned now.", _ORIGIN, banned)
    dropped: Traffics = {
        (origin, _IP_TYPE[family]): each for (origin, family), each in figures.dropped.items()
    }
    yield from _both(_gauges, "fw_bouncer_dropped", "of banned peers that were dropped.", _ORIGIN, dropped)
    processed: Traffics = {(_IP_TYPE[family],): each for family, each in figures.processed.items()}
    yield from _both(_gauges, "fw_bouncer_processed", "that our chains have seen.", _FAMILY, processed)
    spared: Traffics = {(_IP_TYPE[family],): each for family, each in figures.spared.items()}
    yield from _both(_counters, "fwbouncer_never_block", "of peers that are never blocked.", _FAMILY, spared)


def _lapi(figures: Figures) -> Iterator[Metric]:
    yield _counter("lapi_requests", "Times that the LAPI was asked.", figures.lapi_requests)
    yield _counter("lapi_requests_failures", "Times that it gave no page.", figures.lapi_failures)
    yield _gauge(
        "fwbouncer_lapi_up", "Whether the LAPI answered when it was asked last.", figures.lapi_answers
    )
    if figures.answer_age is not None:
        yield _gauge("fwbouncer_lapi_answer_age_seconds", "Time since the last page.", figures.answer_age)
    if figures.snapshot_age is not None:
        text = "Time since all decisions were fetched and compared."
        yield _gauge("fwbouncer_snapshot_age_seconds", text, figures.snapshot_age)
    polls: dict[tuple[str, ...], Latency] = {(asked,): took for asked, took in figures.polls.items()}
    yield _histogram("fwbouncer_poll_seconds", "How long the LAPI takes for a page.", ("asked",), polls)


def _bans(figures: Figures) -> Iterator[Metric]:
    yield _gauge("fwbouncer_decisions", "Decisions in force; several can ban one address.", figures.decisions)
    text = "Bans that the last list lacked, and that stay until the next one lacks them, too."
    yield _gauge("fwbouncer_doubted_bans", text, figures.doubted)
    text = "Whether all bans come from the state file, because the LAPI hasn't answered yet."
    yield _gauge("fwbouncer_provisional", text, figures.provisional)
    rejects: Values = {(reason,): n for reason, n in figures.rejects.items()}
    yield _gauges(
        "fwbouncer_rejected_decisions", "Decisions refused since the last list.", ("reason",), rejects
    )
    ignored: Values = {(reason,): n for reason, n in figures.ignored.items()}
    text = "Decisions that are not for this bouncer, since the last list."
    yield _gauges("fwbouncer_ignored_decisions", text, ("reason",), ignored)
    text = "Addresses and networks that are never blocked."
    yield _gauge("fwbouncer_never_block_entries", text, figures.never_block)


def _kernel(figures: Figures) -> Iterator[Metric]:
    yield _gauge("fwbouncer_elements", "Elements that the kernel must hold.", figures.elements)
    yield _gauge(
        "fwbouncer_drift_elements", "Elements in which the kernel is known to differ.", figures.drift
    )
    yield _gauge(
        "fwbouncer_held_back_elements", "Elements that a full set has no room for.", figures.held_back
    )
    yield _gauge("fwbouncer_kernel_up", "Whether the kernel took the last change.", figures.kernel_takes)
    text = "Times that others changed our rules or sets, and these were put right."
    yield _counter("fwbouncer_repairs", text, figures.repairs)
    text = "Open sessions of banned peers that were ended."
    yield _counter("fwbouncer_sessions_cut", text, figures.sessions_cut)
    text = "How long a change takes, up to the kernel's word that it is done."
    yield _histogram("fwbouncer_apply_seconds", text, (), {(): figures.applies})


def _process(figures: Figures) -> Iterator[Metric]:
    labels = {"version": figures.version, "mode": figures.mode, "owned": str(figures.owned).lower()}
    yield _gauges("fwbouncer_info", "What runs here.", tuple(labels), {tuple(labels.values()): 1})
    process = figures.process
    # The library's own collector reads /proc/stat, which a service with a /proc of processes alone doesn't see.
    yield _gauge("process_start_time_seconds", "When it was started, since 1970.", process.started)
    yield _counter("process_cpu_seconds", "Processor time used.", process.cpu)
    yield _gauge("process_resident_memory_bytes", "Memory in use.", process.memory)
    yield _gauge("process_open_fds", "Open files.", process.files)
