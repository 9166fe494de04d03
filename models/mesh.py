"""Chapter 7: what a mesh gives to systems that run apart, and what it costs.

In the order of the chapter: alerts on the error budget and the search for the owner of a fault
(`Alert`, `Search`); encryption everywhere (`plain_share`, `PROXIES`, `meshed`, `Authority`); canary
releases (`Canary`, `Schedule`); circuit breakers (`Cascade`, `tower`). Beside each stands the rule of
its verdict (`observed`, `encrypted`, `released`, `protected`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, exp, inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from scipy.stats import binom, nbinom, poisson

from models import theory
from models.experiment import Run, simulate
from models.governance import Regime, above, between, drift, whole
from models.system import System

SYSTEMS = 12  # that run apart, where a system names fewer than two teams: assumed


def from_system(system: System, flow: str) -> dict[str, float]:
    """What a system itself says of the chapter's parameters.

    `systems` that run apart: its teams, or `SYSTEMS` if there are fewer than two. `rate_per_s`: all
    of its requests. `canary_per_s`: those of this flow, whose first service is released.
    """
    teams = {service.team for service in system.services.values()} - {None}
    return {
        "systems": len(teams) if len(teams) > 1 else SYSTEMS,
        "rate_per_s": sum(each.mean_rate_per_s for each in system.flows.values()),
        "canary_per_s": system.flows[flow].mean_rate_per_s,
    }


# Alerts on the error budget


@dataclass(frozen=True)
class Alert:
    """Rings while `budget_share` of the error budget would be gone within the long window.

    It compares the share of failed requests with `burn` times the budget, in the long window and
    in a short one of a twelfth of it, which lets it stop soon after the fault. Times in hours.

    Source: Beyer et al., The Site Reliability Workbook, 2018, chapter 5.
    """

    budget_share: float
    window_hours: float
    period_hours: float = 720.0

    @property
    def burn(self) -> float:
        """How many times faster than allowed the budget must be used up for it to ring."""
        return float(theory.burn_rate(self.budget_share, self.window_hours, self.period_hours))

    @property
    def short_hours(self) -> float:
        """The short window."""
        return self.window_hours / 12

    def threshold(self, objective: float) -> float:
        """The share of failed requests at which it rings; `objective` is a share such as 0.999."""
        between("objective", objective, 0, 1)
        return self.burn * (1 - objective)

    def detection_hours(self, failing: float, objective: float, before: float = 0.0) -> float:
        """From the first moment of a steady share `failing` to the ring, if chance is left out.

        The long window's share rises in a straight line from `before`. Infinite if it never rings.
        """
        limit = self.threshold(objective)
        if before >= limit:
            return 0.0
        if failing < limit * (1 - 1e-9):
            return inf
        return self.window_hours * (limit - before) / (failing - before)

    def rings_on_hours(self, failing: float, objective: float, before: float = 0.0) -> float:
        """How long it rings on after a fault that lasted longer than the short window."""
        limit = self.threshold(objective)
        if before >= limit:
            return inf
        if failing < limit * (1 - 1e-9):
            return 0.0
        return self.short_hours * (1 - (limit - before) / (failing - before))

    def ringing_share(self, rate_per_s: float, failing: float, objective: float) -> float:
        """Share of time at which it rings by chance at a steady share `failing`.

        Failures are Poisson; X in the short window and Y in the rest of the long one are
        independent, and it rings where X and X + Y reach their limits: exact.
        """
        per_hour = 3600 * rate_per_s
        limit = self.threshold(objective) * per_hour
        low, high = (ceil(limit * hours - 1e-9) for hours in (self.short_hours, self.window_hours))
        near = failing * per_hour * self.short_hours
        rest = failing * per_hour * (self.window_hours - self.short_hours)
        counts = np.arange(low, max(high, low))
        both = poisson.pmf(counts, near) * poisson.sf(high - counts - 1, rest)
        return float(both.sum() + poisson.sf(max(high, low) - 1, near))


# Two that wake somebody, and one that can wait until morning.
ALERTS = (Alert(0.02, 1.0), Alert(0.05, 6.0), Alert(0.10, 72.0))


def first_alert_hours(
    failing: float, objective: float, before: float = 0.0, alerts: Sequence[Alert] = ALERTS
) -> float:
    """Time until the first of the alerts rings, if chance is left out; infinite if none does."""
    return min((alert.detection_hours(failing, objective, before) for alert in alerts), default=inf)


def silent(failing: float, objective: float, alerts: Sequence[Alert] = ALERTS) -> list[Alert]:
    """The alerts that a steady share `failing` keeps below their limit."""
    return [alert for alert in alerts if failing < alert.threshold(objective) * (1 - 1e-9)]


def ringing(
    rate_per_s: float,
    failing: NDArray[np.floating],
    step_s: float,
    objective: float,
    runs: int,
    seed: int,
    alerts: Sequence[Alert] = ALERTS,
) -> NDArray[np.bool_]:
    """Which alerts ring at the end of each step: shape (alerts, runs, steps).

    `failing` is the share of failed requests in each step of `step_s`. Requests come evenly, and
    failures are Poisson. Before the first step nothing had failed, so that the first window of
    each alert sees too little: leave it out.
    """
    above("rate_per_s", rate_per_s)
    draws = np.random.default_rng([seed, 10])
    failures = draws.poisson(rate_per_s * step_s * failing, (runs, len(failing)))
    total = np.concatenate(
        [np.zeros((runs, 1), np.int64), failures.cumsum(axis=1, dtype=np.int64)], axis=1
    )
    steps = np.arange(1, len(failing) + 1)

    def reached(alert: Alert, hours: float) -> NDArray[np.bool_]:
        length = round(3600 * hours / step_s)
        if abs(length * step_s - 3600 * hours) > 1e-6 * step_s:
            raise ValueError(f"step_s: {step_s!r} was given; expected a part of {3600 * hours:g} s")
        seen = total[:, 1:] - total[:, np.maximum(steps - length, 0)]
        return seen >= alert.threshold(objective) * rate_per_s * 3600 * hours - 1e-9

    return np.stack(
        [reached(a, a.window_hours) & reached(a, a.short_hours) for a in alerts], axis=0
    )


def detection_hours(
    rate_per_s: float,
    failing: float,
    before: float,
    objective: float,
    runs: int,
    seed: int,
    within_hours: float = 24.0,
    step_s: float = 10.0,
    alerts: Sequence[Alert] = ALERTS,
) -> NDArray[np.floating]:
    """Simulated times from the start of a fault to the first ring, infinite beyond `within_hours`.

    A run that rang already, by chance, when the fault began counts as 0. Shape (runs,).
    """
    calm = round(3600 * max(alert.window_hours for alert in alerts) / step_s)
    steps = round(3600 * within_hours / step_s)
    shares = np.repeat([before, failing], [calm, steps])
    rings = ringing(rate_per_s, shares, step_s, objective, runs, seed, alerts)
    rings = np.logical_or.reduce(rings[:, :, calm - 1 :])
    return np.where(rings.any(axis=1), rings.argmax(axis=1) * step_s / 3600, inf)


# Searching for the owner of a fault


@dataclass(frozen=True)
class Search:
    """From a fault in one service to the team that owns it.

    Each service reports in the common way, and passes trace contexts on, with probability
    `coverage`. If any service from the fault up to the front does, an alert rings after
    `alert_minutes`, and a trace is read after `traces` traces of failed requests have been kept.
    Else a user complains, after `complaint_minutes` on average. The blame falls on the service
    nearest to the fault that reports, or on the front, and is handed down call by call,
    `hand_off_minutes` each. The fault may be in any step of the system, each as likely.

    Of the failed requests, `failed_per_s`, a share `sampling` keeps its trace (head sampling).
    """

    coverage: float
    alert_minutes: float = 5.0
    complaint_minutes: float = 60.0
    hand_off_minutes: float = 30.0
    traces: int = 10
    sampling: float = 1.0
    failed_per_s: float = 1.0

    def __post_init__(self):
        between("coverage", self.coverage, 0, 1)
        for name in ("alert_minutes", "complaint_minutes", "hand_off_minutes"):
            between(name, getattr(self, name), 0, inf)
        whole("traces", self.traces)
        if not 0 < self.sampling <= 1:
            raise ValueError(f"sampling: {self.sampling!r} was given; expected a share above 0")
        above("failed_per_s", self.failed_per_s)

    @property
    def traces_minutes(self) -> float:
        """Mean time until enough traces of failed requests have been kept (Poisson)."""
        return self.traces / (self.sampling * self.failed_per_s) / 60

    def hand_offs(self, callers: int) -> float:
        """Mean number of hand-offs to a fault with so many callers above it.

        At least j are needed where the j services nearest to the fault do not report.
        """
        return sum((1 - self.coverage) ** j for j in range(1, callers + 1))

    def minutes(self, system: System) -> float:
        """Mean time from the fault to its owner."""
        return float(np.mean([self._mean_minutes(path) for path in paths(system)]))

    def _mean_minutes(self, path: Sequence[str]) -> float:
        unseen = (1 - self.coverage) ** len(path)
        alarm = (1 - unseen) * (self.alert_minutes + self.traces_minutes)
        noticed = alarm + unseen * self.complaint_minutes
        return noticed + self.hand_offs(len(path) - 1) * self.hand_off_minutes

    def simulate(self, system: System, runs: int, seed: int) -> NDArray[np.floating]:
        """Times of `runs` faults in minutes; complaints and hand-offs take exponential times."""
        draws = np.random.default_rng([seed, 11])
        names = list(system.services)
        ways = [[names.index(name) for name in path] for path in paths(system)]
        longest = max(map(len, ways))
        chosen = draws.integers(len(ways), size=runs)
        reports = draws.random((runs, len(names))) < self.coverage
        complaint = draws.exponential(self.complaint_minutes, runs)
        kept = draws.gamma(self.traces, self.traces_minutes / self.traces, runs)
        talks = draws.exponential(self.hand_off_minutes, (runs, longest))
        found = np.empty(runs)
        for run, way in enumerate(chosen):
            seen = reports[run, ways[way]]  # the fault first, the front last
            blamed = int(seen.argmax()) if seen.any() else len(seen) - 1
            noticed = self.alert_minutes + kept[run] if seen.any() else complaint[run]
            found[run] = noticed + talks[run, :blamed].sum()
        return found


def observed(minutes: float, partly: float, faintly: float, within: float) -> str:
    """The verdict on telemetry in common: whether the owner is found within a time (in minutes).

    It holds only if also all services report (`partly` is the time if some do not), and enough
    traces are kept (`faintly`: with as few as cost nothing).
    """
    if minutes > within:
        return "does not hold here"
    return "holds only if" if max(partly, faintly) > within else "holds"


def paths(system: System) -> list[list[str]]:
    """For every step, the services from it up to the front of its flow, each once."""
    found: list[list[str]] = []
    for entry in system.steps():
        path, parent = [entry.step.service], entry.parent
        while parent is not None:
            path.append(parent.step.service)
            parent = parent.parent
        found.append(list(dict.fromkeys(path)))
    return found


@dataclass(frozen=True)
class Sampling:
    """What keeping a share of the traces cost a web search cluster, in per cent of change.

    Source: Sigelman et al., "Dapper", Google technical report, 2010, table 2; its experimental
    errors are 2.5 % (latency) and 0.15 % (throughput).
    """

    one_in: int
    latency: float
    throughput: float


DAPPER = (
    Sampling(1, 16.3, -1.48),
    Sampling(2, 9.40, -0.73),
    Sampling(4, 6.38, -0.30),
    Sampling(8, 4.12, -0.23),
    Sampling(16, 2.12, -0.08),
    Sampling(1024, -0.20, -0.06),
)
SPAN_BYTES = 426  # Dapper, section 4: a span in its store


def seen_share(failed_per_s: float, sampling: float, within_s: float) -> float:
    """Probability that at least one trace of a failure is kept within a time (Poisson)."""
    return -np.expm1(-failed_per_s * sampling * within_s)


# Encryption everywhere


def edges(system: System) -> list[tuple[str, str]]:
    """The pairs of different services of which one calls the other or sends it messages."""
    found = {
        tuple(sorted((entry.parent.step.service, entry.step.service)))
        for entry in system.steps()
        if entry.parent is not None and entry.mode != "local"
    }
    return sorted(found)  # type: ignore[arg-type]


def owners(system: System) -> list[tuple[str, str]]:
    """The owners of the two ends of every edge: teams, or the services where none is named."""
    owner = {name: service.team or name for name, service in system.services.items()}
    return [(owner[a], owner[b]) for a, b in edges(system)]


def plain_share(system: System, alone: float, both: float) -> float:
    """Share of the edges in plain text, by the probability that an owner encrypts.

    `alone` for one owner, `both` for two different ones: an edge needs both of its ends.
    """
    inside = np.mean([a == b for a, b in owners(system)])
    return float(1 - inside * alone - (1 - inside) * both)


def plain_by_teams(system: System, regime: Regime, days: float) -> float:
    """Share of the edges in plain text where every team turns encryption on by itself.

    Nobody encrypts on day 0, and teams are independent of each other (the rule never changes).
    """
    encrypts = regime.keeping(days, at_first=False)
    return plain_share(system, encrypts, encrypts**2)


def plain_by_policy(system: System, regime: Regime, days: float, join_days: float) -> float:
    """The same under a central policy, while one team after the other joins the mesh.

    One joins every `join_days`, in an order drawn at random. With j of n joined, a pair has with
    probability j(j-1) / (n(n-1)), and then `regime` keeps the rule in each of them.
    """
    teams = len({owner for pair in owners(system) for owner in pair})
    joined = min(int(days / join_days), teams)
    kept = regime.keeping()
    pair = joined * (joined - 1) / (teams * (teams - 1)) if teams > 1 else 0.0
    return plain_share(system, joined / teams * kept, pair * kept**2)


def simulate_plain(
    system: System,
    regime: Regime,
    days: NDArray[np.floating],
    runs: int,
    seed: int,
    join_days: float | None = None,
) -> NDArray[np.floating]:
    """Simulated share of the edges in plain text: shape (runs, days)."""
    pairs = owners(system)
    teams = sorted({owner for pair in pairs for owner in pair})
    keeps = drift(regime, len(teams), days, runs, seed, at_first=join_days is not None)
    if join_days is not None:
        order = np.random.default_rng([seed, 12]).permuted(
            np.tile(np.arange(1, len(teams) + 1), (runs, 1)), axis=1
        )
        keeps = keeps & (order[:, :, None] * join_days <= np.asarray(days))
    first, second = ([teams.index(pair[end]) for pair in pairs] for end in (0, 1))
    return 1 - (keeps[:, first] & keeps[:, second]).mean(axis=1)


def encrypted(plain: float, allowed: float, price: float, affordable: float) -> str:
    """The verdict on encryption by policy: by the share of edges still plain, then by its price.

    `price` is by what share a deep chain of calls takes longer.
    """
    if plain > allowed:
        return "does not hold here"
    return "holds" if price <= affordable else "holds only if"


# The price a hop


@dataclass(frozen=True)
class Proxy:
    """What stands between two services, and what a call pays for it.

    `p90_ms` and `p99_ms` are the latency that it adds to a call, both ends together, and
    `vcpu_per_1000_per_s` the processors that 1,000 calls a second need in all proxies on the way.
    """

    name: str
    p90_ms: float
    p99_ms: float
    vcpu_per_1000_per_s: float
    source: str

    @property
    def _sigma(self) -> float:
        if self.p90_ms == 0:
            return 0.0
        return log(self.p99_ms / self.p90_ms) / (special.ndtri(0.99) - special.ndtri(0.9))

    @property
    def mean_ms(self) -> float:
        """Mean of the lognormal time with these two quantiles."""
        if self.p90_ms == 0:
            return 0.0
        return self.p90_ms * exp(self._sigma**2 / 2 - self._sigma * float(special.ndtri(0.9)))

    def vcpu(self, system: System) -> float:
        """Processors that the proxies of a system need; a message counts as one call."""
        handled = sum(load.handled_per_s for load in system.loads().values())
        per_s = handled - sum(flow.mean_rate_per_s for flow in system.flows.values())
        return per_s * self.vcpu_per_1000_per_s / 1000


_ISTIO = "Istio 1.24, performance and scalability"
PROXIES = {
    "none": Proxy("none", 0.0, 0.0, 0.0, ""),
    "ambient": Proxy("proxy a node", 0.16, 0.20, 2 * 0.06, _ISTIO),
    "waypoint": Proxy("proxy a node, waypoint", 0.40, 0.50, 2 * 0.06 + 0.25, _ISTIO),
    "sidecar": Proxy("sidecars", 0.63, 0.88, 2 * 0.20, _ISTIO),
}


def meshed(system: System, proxy: Proxy) -> System:
    """The system with proxies in every call: pure, and what its mesh says otherwise stays.

    Their processor time is a part of the latency as it was measured, so it is not charged again.
    """
    data = system.to_dict()
    charged = {"hop_ms": proxy.mean_ms, "cpu_ms": 0.0}
    return System.model_validate(data | {"mesh": (data.get("mesh") or {}) | {"proxy": charged}})


# The certificate authority


# Durations of public outages (98 post-mortems, not of security, shorter than 14 days) in hours, by
# the share that was shorter. Computed from the post-mortems collected in icco/postmortems.
OUTAGE_HOURS = {0.25: 1.6, 0.5: 6.4, 0.75: 23.7, 0.9: 48.0}


def outages_longer(hours: float) -> float:
    """Share of public outages that lasted longer, on a straight line over the logarithm of time.

    Beyond the published quantiles, the nearest of them.
    """
    above("hours", hours)
    return 1 - float(np.interp(log(hours), np.log(list(OUTAGE_HOURS.values())), list(OUTAGE_HOURS)))


@dataclass(frozen=True)
class Authority:
    """A certificate authority that all systems share, from the moment that it is down.

    Certificates live `life_hours` and are renewed when a share `renewed_at` of that is over; the
    workloads are at random points of that. A workload that starts anew, `restarts_per_day` times,
    needs a new certificate at once. Without a valid one nobody talks to it, or it to anybody.
    """

    life_hours: float = 24.0
    renewed_at: float = 0.5
    restarts_per_day: float = 0.5

    def __post_init__(self):
        above("life_hours", self.life_hours)
        if not 0 < self.renewed_at <= 1:
            raise ValueError(
                f"renewed_at: {self.renewed_at!r} was given; expected a share above 0, at most 1"
            )
        between("restarts_per_day", self.restarts_per_day, 0, inf)

    @property
    def slack_hours(self) -> float:
        """How long it may be down before the first certificate that nobody lost runs out."""
        return (1 - self.renewed_at) * self.life_hours

    def without(self, hours: float) -> float:
        """Share of the workloads without a valid certificate after it has been down so long."""
        ran_out = min(max((hours - self.slack_hours) / (self.life_hours - self.slack_hours), 0), 1)
        return 1 - (1 - ran_out) * exp(-self.restarts_per_day * hours / 24)

    def refused(self, hours: float) -> float:
        """Share of the calls between two workloads that are refused."""
        return 1 - (1 - self.without(hours)) ** 2

    def lasts_hours(self, share: float) -> float:
        """How long it may be down until that share of the calls is refused."""
        if not 0 < share < 1:
            raise ValueError(f"share: {share!r} was given; expected one between 0 and 1")
        return float(optimize.brentq(lambda hours: self.refused(hours) - share, 0, self.life_hours))

    def simulate(
        self, hours: NDArray[np.floating], workloads: int, runs: int, seed: int
    ) -> NDArray[np.floating]:
        """Simulated share of the pairs of workloads that cannot talk: shape (runs, hours).

        The last one of each run talks to the first; so there are as many pairs as workloads.
        """
        draws = np.random.default_rng([seed, 13])
        age = draws.random((runs, workloads, 1)) * self.renewed_at * self.life_hours
        gap = 24 / self.restarts_per_day if self.restarts_per_day else inf
        restarts = draws.exponential(1.0, (runs, workloads, 1)) * gap
        valid = np.minimum(self.life_hours - age, restarts) > np.asarray(hours)
        return 1 - (valid & np.roll(valid, 1, axis=1)).mean(axis=1)


# Canary releases


@dataclass(frozen=True)
class Canary:
    """A new version that gets a share `weight` of `rate_per_s` requests until it is judged.

    A healthy one fails a share `p_good` of them, as the old one does; one with a share of `p_bad`
    or more must not be released. `alpha`: healthy and rejected; `beta`: bad and released.
    """

    rate_per_s: float
    weight: float = 0.1
    p_good: float = 0.001
    p_bad: float = 0.002
    alpha: float = 0.05
    beta: float = 0.05

    def __post_init__(self):
        above("rate_per_s", self.rate_per_s)
        if not 0 < self.weight <= 1:
            raise ValueError(
                f"weight: {self.weight!r} was given; expected a share above 0, at most 1"
            )
        _ = self.sequential  # refuses impossible shares

    @cached_property
    def sequential(self) -> theory.SequentialTest:
        """Wald's sequential probability ratio test with these errors."""
        return theory.sequential_test(self.p_good, self.p_bad, self.alpha, self.beta)

    @cached_property
    def _fixed(self) -> tuple[int, int]:
        # A limit keeps beta from the size on by which a bad version has, with probability 1 - beta,
        # failed once more than allowed. The first limit that keeps alpha too has the smallest size.
        limits = 64
        while True:
            allowed = np.arange(limits)
            sizes = nbinom.isf(self.beta, allowed + 1, self.p_bad) + allowed + 1
            kept = binom.sf(allowed, sizes, self.p_good) <= self.alpha
            if kept.any():
                return int(sizes[kept][0]), int(allowed[kept][0])
            limits *= 2

    @property
    def fixed_size(self) -> int:
        """Requests of the smallest test of fixed size that keeps both errors (binomial, exact)."""
        return self._fixed[0]

    @property
    def allowed(self) -> int:
        """Failures up to which this test releases."""
        return self._fixed[1]

    @property
    def fixed_errors(self) -> tuple[float, float]:
        """The two error rates that the test of fixed size really has (binomial, exact)."""
        return (
            float(binom.sf(self.allowed, self.fixed_size, self.p_good)),
            float(binom.cdf(self.allowed, self.fixed_size, self.p_bad)),
        )

    def hours(self, requests: float) -> float:
        """How long it takes until the canary has had so many requests."""
        return requests / (self.rate_per_s * self.weight) / 3600

    def hurt(self, requests: float) -> float:
        """Failures that so many requests to a bad version cost more than the old one would."""
        return requests * (self.p_bad - self.p_good)

    def hurt_everywhere(self, hours: float) -> float:
        """The same if all users have the bad version for so long."""
        return self.hurt(3600 * self.rate_per_s * hours)

    def simulate(
        self, failing: float, runs: int, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """The sequential test on a version that fails a share `failing` of its requests.

        Requests until the decision, whether the version is rejected, and its failures: each of
        shape (runs,). Between two failures the log likelihood ratio falls in a straight line.
        """
        if not 0 < failing < 1:
            raise ValueError(f"failing: {failing!r} was given; expected a share between 0 and 1")
        test, draws = self.sequential, np.random.default_rng([seed, 14])
        sizes, failures = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
        rejected = np.zeros(runs, bool)
        open_ = np.arange(runs)
        while len(open_):
            ahead = draws.geometric(failing, len(open_))  # the failure is the last of them
            # Accepted as soon as failures <= -h1 + s n.
            enough = np.ceil((failures[open_] + test.h1) / test.s - 1e-12).astype(np.int64)
            accepts = enough < sizes[open_] + ahead
            sizes[open_] = np.where(accepts, enough, sizes[open_] + ahead)
            failures[open_] += ~accepts
            rejects = ~accepts & (failures[open_] >= test.h2 + test.s * sizes[open_])
            rejected[open_] = rejects
            open_ = open_[~accepts & ~rejects]
        return sizes, rejected, failures

    def walk(self, failing: float, seed: int) -> NDArray[np.int64]:
        """One test, request by request: rows of (requests, failures) from its start to its end."""
        test, draws = self.sequential, np.random.default_rng([seed, 15])
        requests = failures = 0
        path = [(0, 0)]
        while -test.h1 < failures - test.s * requests < test.h2:
            requests += 1
            if draws.random() < failing:
                failures += 1
                path.append((requests, failures))
        return np.array([*path, (requests, failures)], np.int64)


def released(
    canary: Canary, small_per_s: float, within_hours: float, hurt: float, bare: float
) -> str:
    """The verdict on canaries: whether a healthy version is known in time, and a bad one hurts less.

    It holds only if, where a small service takes longer than `within_hours`. `hurt` and `bare` are
    failures with a canary and without.
    """
    needed = float(canary.sequential.mean_size_good)
    if canary.hours(needed) > within_hours or hurt >= bare:
        return "does not hold here"
    small = replace(canary, rate_per_s=small_per_s)
    return "holds" if small.hours(needed) <= within_hours else "holds only if"


@dataclass(frozen=True)
class Schedule:
    """A release that gives the canary more weight step by step, by the clock, as Flagger does.

    Every `interval_s` it looks: if all is well the weight grows by `step`, up to `most`; after
    `threshold` bad looks it goes back. Defaults are those of Flagger's example.
    """

    interval_s: float = 60.0
    step: float = 0.05
    most: float = 0.5
    threshold: int = 10

    def __post_init__(self):
        above("interval_s", self.interval_s)
        above("step", self.step)
        if not self.step <= self.most <= 1:
            raise ValueError(
                f"most: {self.most!r} was given; expected from step, {self.step}, to 1"
            )
        whole("threshold", self.threshold)

    @property
    def promote_minutes(self) -> float:
        """Time to release, if all looks are well: interval times most over step."""
        return self.interval_s * self.most / self.step / 60

    @property
    def rollback_minutes(self) -> float:
        """Time to go back, if all looks are bad."""
        return self.interval_s * self.threshold / 60

    def requests(self, rate_per_s: float) -> float:
        """Requests that the canary has had when it is released."""
        weights = np.arange(1, round(self.most / self.step) + 1) * self.step
        return float(weights.sum()) * self.interval_s * rate_per_s

    def enough_per_s(self, requests: float) -> float:
        """The rate from which the canary has had so many by then."""
        return requests / self.requests(1.0)


# Circuit breakers


@dataclass(frozen=True)
class Cascade:
    """A front with two flows: one needs a bank that hangs for a while, the other does not.

    `buy` goes from the front to payment and on to the bank; `look` from the same front to the
    catalogue. What a call gets while the bank is down is no error but silence, until it is over.
    """

    look_per_s: float = 100.0
    buy_per_s: float = 50.0
    front_workers: int = 32
    payment_workers: int = 16
    work_ms: float = 5.0
    bank_ms: float = 20.0
    from_s: float = 10.0
    down_s: float = 20.0
    after_s: float = 10.0
    patience_ms: float = 1000.0
    calls: str = "hang"

    def system(self, policy: Mapping[str, Any]) -> System:
        """The system; `policy` is what the mesh says of every call."""
        counted = {"timeout_ms": 1e9}  # a limit that is never reached, so that tries are counted
        here = {"infrastructure": "here"}
        work = {"mean_ms": self.work_ms}
        bank = {"service": "bank", "work": {"mean_ms": self.bank_ms}}
        payment = {"service": "payment", "work": work, "then": [bank]}
        catalogue = {"service": "catalogue", "work": work}
        front = {"service": "front", "work": work}
        down = {
            "services": ["bank"],
            "from_ms": 1000 * self.from_s,
            "for_ms": 1000 * self.down_s,
            "calls": self.calls,
        }
        return System.model_validate(
            {
                "name": "Two flows and a bank",
                "infrastructures": {"here": {}},
                "services": {
                    "front": here | {"workers": self.front_workers},
                    "catalogue": here,
                    "payment": here | {"workers": self.payment_workers},
                    "bank": here,
                },
                "flows": {
                    "look": {"rate_per_s": self.look_per_s, "root": front | {"then": [catalogue]}},
                    "buy": {"rate_per_s": self.buy_per_s, "root": front | {"then": [payment]}},
                },
                "outages": [down],
                "mesh": counted | dict(policy),
            }
        )

    def run(self, policy: Mapping[str, Any], seed: int) -> Run:
        """One run over the time before, during and after."""
        until_s = self.from_s + self.down_s + self.after_s
        requests = ceil(1.05 * (self.look_per_s + self.buy_per_s) * until_s + 200)
        return simulate(self.system(policy), requests, seed, warmup=0.0)

    def served(self, run: Run) -> dict[str, float]:
        """Shares of the requests that were answered well and within `patience_ms`.

        `bystanders`: of those that look while the bank hangs; `buyers_after`: of those that buy in
        the time after it; `buyers_before`: in the time before. `asked`: calls to the bank that were
        let through, a request to buy.
        """
        rows = run.requests
        assert rows is not None  # keep="requests" is the default
        well = (rows.answer == "ok") & (rows.replied_ms - rows.arrived_ms <= self.patience_ms)
        back_s = self.from_s + self.down_s
        spans = {
            "bystanders": ("look", self.from_s, back_s),
            "buyers_before": ("buy", 0.0, self.from_s),
            "buyers_after": ("buy", back_s, back_s + self.after_s),
        }
        shares = {}
        for key, (flow, start_s, end_s) in spans.items():
            chosen = (rows.flow == flow) & rows.arrived_ms.between(1000 * start_s, 1000 * end_s)
            shares[key] = float(well[chosen].mean())
        tried = run.steps.set_index("step").tried["bank"]
        return shares | {"asked": float(tried / (rows.flow == "buy").sum())}


GOOD = {  # what a careful team would set for every call, with its time limit
    "breaker": {"window": 20, "minimum": 20, "open_ms": 1000, "trials": 2},
    "retry": {
        "attempts": 3,
        "on": ["rejected", "timed_out", "unavailable"],
        "budget": {"tokens": 10, "per_call": 0.1},
    },
}


def policy_of(system: System) -> dict[str, Any]:
    """What the mesh in a system file says of every call, without what it costs; empty: nothing."""
    said = system.to_dict().get("mesh") or {}
    return {name: part for name, part in said.items() if name not in ("proxy", "mtls", "telemetry")}


def protected(set_: float, as_it_comes: Iterable[float], least: float) -> str:
    """The verdict on breakers: shares of the bystanders that are served, and how many should be.

    `set_`: with every policy that helps. It holds only if, where one that comes by itself does not.
    """
    if set_ < least:
        return "does not hold here"
    return "holds" if all(share >= least for share in as_it_comes) else "holds only if"


def tower(layers: int, policy: Mapping[str, Any], errors: float = 1.0) -> System:
    """Services one above the other, each calling the next; the lowest fails a share `errors`.

    The mesh's policy is that of each of the `layers` calls. Nobody waits for a worker.
    """
    whole("layers", layers)
    step: dict[str, Any] = {"service": f"s{layers}", "work": {"mean_ms": 1}, "errors": errors}
    for layer in range(layers - 1, -1, -1):
        step = {"service": f"s{layer}", "work": {"mean_ms": 1}, "then": [step]}
    return System.model_validate(
        {
            "name": "Tower",
            "infrastructures": {"here": {}},
            "services": {f"s{layer}": {"infrastructure": "here"} for layer in range(layers + 1)},
            "flows": {"request": {"rate_per_s": 10.0, "root": step}},
            "mesh": dict(policy),
        }
    )


def tries_at_the_bottom(run: Run) -> float:
    """Tries of the lowest call of a `tower`, a request."""
    return float(run.services.handled.iloc[-1] / run.counted)
