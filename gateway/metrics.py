"""Every Prometheus instrument and the labels it may carry.

Labels come from closed sets: routes, the configuration's models, upstreams and teams, status classes. What a caller
makes up is counted as `other`. Over several workers the numbers live in a shared folder and are added up when read.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway import __version__, scrape
from gateway.policy.shedding import Signal
from gateway.tally import Buckets, Tallies

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_TEAMS = 100  # with a few models and upstreams, some thousands of series


class Metrics:
    """The instruments of one process. `folder` is shared by the workers, None with a single one."""

    def __init__(self, *, models: Collection[str], teams: Collection[str], folder: Path | None = None) -> None:
        self.serving = 0  # requests that this process has begun and not answered
        self.quickest = inf  # seconds of our own until one was let in, since somebody looked last
        self._folder, self._tightest = folder, dict[str, str]()  # the window that each team has least left in
        self.registry = CollectorRegistry(auto_describe=True)
        tallies = Tallies(self.registry, at_once=folder is not None)
        self._sum, self._spread = cache(tallies.sum), cache(tallies.spread)
        self._traffic()
        self._amounts()
        self._upstreams()
        self._machine()
        self.follow(models=models, teams=teams)

    def follow(
        self, *, models: Collection[str], teams: Collection[str], upstreams: Collection[str] | None = None
    ) -> None:
        """These are the names of the configuration from now on. Gauges of other upstreams and teams are told no more.

        `upstreams` None: all that are reported.
        """
        self._models = frozenset(models)
        self._teams = frozenset(sorted(teams)[:MAX_TEAMS])
        self._upstream_names = None if upstreams is None else frozenset(upstreams)
        self.applied.set_to_current_time()

    # -- what the rooms report

    def began(self) -> None:
        """A request has come in."""
        self.serving += 1
        self._sum(self.in_flight).inc()

    def answered(self) -> None:
        """A request has been answered, or its caller is gone."""
        self.serving -= 1

    def ended(self, labels: Mapping[str, str], *, status: int, seconds: float, first_byte: float | None) -> None:
        """A request is in the books. `labels`: route, model, upstream, team."""
        self._sum(self.in_flight).dec()
        route, model, team = labels["route"], self._model(labels["model"]), self._team(labels["team"])
        self._sum(self.requests, route, model, labels["upstream"], team, f"{status // 100}xx").inc()
        self._spread(self.duration, route).observe(seconds)
        if first_byte is not None:
            self._spread(self.first_byte, route).observe(first_byte)

    def admitted(self, team: str, *, seconds: float, window: str, remaining: float) -> None:
        """A request was let in after `seconds` of our own; its team's tightest `window` has `remaining` (0-1) left."""
        self.quickest = min(self.quickest, seconds)
        self._spread(self.overhead).observe(seconds)
        if window:
            name = self._team(team)
            if (before := self._tightest.get(name, window)) != window:  # what is left there is told no more
                self._sum(self.remaining, name, before).set(nan)
            self._tightest[name] = window
            self._sum(self.remaining, name, window).set(remaining)

    def used(self, labels: Mapping[str, str], *, seconds: float, characters: int, micro_usd: int, source: str) -> None:
        """A request was charged. `source` says where its audio seconds were taken from."""
        model, team = self._model(labels["model"]), self._team(labels["team"])
        self._sum(self.audio_seconds, "in", team, model).inc(seconds)
        self._sum(self.characters, team, model).inc(characters)
        self._sum(self.cost, team, model, labels["upstream"]).inc(micro_usd)
        self._sum(self.metered, source).inc()

    def passed(self, *, received: int, sent: int) -> None:
        """Bytes of bodies that came from a caller and went to one."""
        self._sum(self.bytes, "in").inc(received)
        self._sum(self.bytes, "out").inc(sent)

    def attempted(self, upstream: str, outcome: str, seconds: float, *, took: float = 0, audio: float = 0) -> None:
        """An upstream was tried. It `took` so many seconds of them for so many of `audio`, where both are known."""
        self._spread(self.attempts, upstream, outcome).observe(seconds)
        if took and audio:
            self._sum(self.work, upstream).inc(took)
            self._sum(self.heard, upstream).inc(audio)

    def switched(self, reason: str) -> None:
        """A request went on to another upstream."""
        self.retries.labels(reason=reason).inc()

    def gave_up(self) -> None:
        """A request was not tried again: the budget for retries is used up."""
        self.given_up.inc()

    def rejected(self, team: str, kind: str) -> None:
        """A request was refused by a limit."""
        self.rejections.labels(team=self._team(team), kind=kind).inc()

    def shed(self, signal: str) -> None:
        """A request was refused because there is too much to do; `signal` told so."""
        self._sum(self.sheds, signal).inc()

    def repeated(self, answer: str) -> None:
        """A request was sent again under its Idempotency-Key: it got its answer, or a refusal by this name."""
        self.repeats.labels(answer=answer).inc()

    def aborted(self, phase: str) -> None:
        """A caller went away during `phase` (a step's name)."""
        self.aborts.labels(phase=phase).inc()

    def reloaded(self, result: str) -> None:
        """The configuration file was read again and is `applied`, or `refused` for its mistakes."""
        self.reloads.labels(result=result).inc()

    def upstream_state(self, upstream: str, *, resting: bool, dry: bool = False, drained: bool = False) -> None:
        """Whether an upstream is passed over for now: it rests after failures, its wallet is dry, or it is drained."""
        self.up.labels(upstream=upstream).set(0 if resting or dry else 1)
        self.ejected.labels(upstream=upstream).set(1 if resting else 0)
        self.drained.labels(upstream=upstream).set(1 if drained else 0)
        for seconds in (self.work, self.heard):  # from 0 on, lest the first ones are not seen to be more
            self._sum(seconds, upstream)

    def balance(self, upstream: str, usd: Decimal | None) -> None:
        """What is left of our money at an upstream, None while that is not known."""
        self.balance_usd.labels(upstream=upstream).set(nan if usd is None else float(usd))

    def store_answered(self, script: str, seconds: float) -> None:
        """The store answered, or failed to, within `seconds`."""
        self._spread(self.store_latency, script).observe(seconds)

    def store_failed(self, script: str) -> None:
        """The store did not answer, or with an error."""
        self.store_errors.labels(script=script).inc()

    def recorded(self, records: int, *, unexported: int) -> None:
        """How many records of requests the store holds, and how many of them are not exported yet."""
        self.records.set(records)
        self.unexported.set(unexported)

    def render(self) -> bytes:
        """All numbers, of all workers, in Prometheus' text format."""
        return scrape.text(self.registry, self._folder, is_present=self._is_present)

    def close(self, pid: int) -> None:
        """This worker ends: what it has in flight no longer counts."""
        if self._folder is not None:
            scrape.ended(self._folder, pid)

    # -- the instruments

    def _traffic(self) -> None:
        self.requests = self._counter(
            "requests", "Requests answered.", "route", "model", "upstream", "team", "status_class"
        )
        self.in_flight = self._gauge("inflight_requests", "Requests being served.")
        self.aborts = self._counter("client_aborts", "Callers that went away, by step.", "phase")
        self.repeats = self._counter("repeats", "Requests sent again, by what was said to them.", "answer")
        self.bytes = self._counter("audio_bytes", "Bytes of bodies, from callers (in) and to them (out).", "direction")
        self.duration = self._histogram("request_duration_seconds", "From the first byte in to the last out.", "route")
        self.first_byte = self._histogram("time_to_first_byte_seconds", "Until the first byte of the answer.", "route")
        self.overhead = self._histogram(
            "overhead_seconds", "Until a request is let in, without waiting for its caller.", buckets=FAST
        )

    def _amounts(self) -> None:
        self.audio_seconds = self._counter("audio_seconds", "Seconds of audio.", "direction", "team", "model")
        self.characters = self._counter("characters", "Characters spoken.", "team", "model")
        self.cost = self._counter("cost_micro_usd", "Cost in millionths of a US dollar.", "team", "model", "upstream")
        self.metered = self._counter("metered", "Requests charged, by where their amount was taken from.", "source")
        self.rejections = self._counter("quota_rejections", "Requests refused by a limit.", "team", "kind")
        self.remaining = self._gauge(
            "quota_remaining_ratio", "What is left of a team's tightest limit.", "team", "window", mode="recent"
        )
        self._held = self._gauge("reservations_held", "Reservations that are not settled yet.")
        self.held = self._sum(self._held)
        self.expired = self._counter("expired_reservations", "Requests whose gateway died before it settled them.")
        self._unsettled = self._gauge("unsettled", "Finished requests whose settlement has yet to reach the store.")
        self.unsettled = self._sum(self._unsettled)
        self.records = self._gauge("usage_records", "Records of requests in the store.", mode="recent")
        self.unexported = self._gauge("usage_unexported", "Records that are not exported yet.", mode="recent")

    def _upstreams(self) -> None:
        self.attempts = self._histogram("upstream_request_duration_seconds", "Attempts.", "upstream", "outcome")
        self.work = self._counter("upstream_work_seconds", "Seconds that audio took at an upstream.", "upstream")
        self.heard = self._counter("upstream_audio_seconds", "Seconds of the audio that took them.", "upstream")
        self.up = self._gauge("upstream_up", "1 while it is used, 0 while it rests or is dry.", "upstream", mode="min")
        self.ejected = self._gauge("upstream_ejected", "1 while it rests after failures.", "upstream", mode="max")
        self.drained = self._gauge("upstream_drained", "1 while it is out of use.", "upstream", mode="max")
        self.balance_usd = self._gauge("upstream_balance_usd", "US dollars left, or NaN.", "upstream", mode="recent")
        self.retries = self._counter("retries", "Requests that went on to another upstream, by reason.", "reason")
        self.given_up = self._counter("retry_budget_exhausted", "Requests not tried again: the budget is used up.")

    def _machine(self) -> None:
        self.store_latency = self._histogram(
            "redis_latency_seconds", "Calls to the store, by script.", "script", buckets=FAST
        )
        self.store_errors = self._counter("redis_errors", "Calls to the store that failed, by script.", "script")
        self._spooled = self._gauge("spool_bytes", "Bytes of uploads that are kept or announced.")
        self.spooled = self._sum(self._spooled)
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the event loop ran, at worst of late.", mode="max")
        self.sheds = self._counter("shed", "Requests refused because there is too much to do, by sign.", "signal")
        for signal in get_args(Signal):
            self._sum(self.sheds, signal)
        self.applied = self._gauge("config_applied_timestamp_seconds", "When the file came to count.", mode="min")
        self.reloads = self._counter("config_reloads", "Times that the file was read again, by result.", "result")
        for result in ("applied", "refused"):
            self.reloads.labels(result=result)
        self.lost_lines = self._counter("log_lines_lost", "Lines that standard output did not take.")
        self.build = self._gauge("build_info", "Always 1; the label tells the version.", "version", mode="max")
        self.build.labels(version=__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="audiogate", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str, mode: str = "livesum") -> Gauge:
        live = {"min": "livemin", "max": "livemax", "recent": "livemostrecent"}.get(mode, mode)
        return Gauge(name, text, labels, namespace="audiogate", registry=self.registry, multiprocess_mode=live)  # type: ignore[arg-type]

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Buckets:
        return Buckets(name, text, labels, namespace="audiogate", registry=self.registry, buckets=buckets)

    def _is_present(self, labels: Mapping[str, str]) -> bool:
        """Whether the upstream or team that a gauge is about is in the configuration."""
        upstream, team = labels.get("upstream"), labels.get("team", "")
        known = upstream is None or self._upstream_names is None or upstream in self._upstream_names
        return known and self._team(team) == team

    def _model(self, model: str) -> str:
        return model if not model or model in self._models else "other"

    def _team(self, team: str) -> str:
        return team if not team or team in self._teams else "other"
