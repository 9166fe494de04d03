"""Counts and times of a run, kept apart from the model so that the model can be read."""

from dataclasses import dataclass, field
from math import inf, nan

from models.engine.plan import LOCAL
from models.engine.policies import BROKEN, OK, REJECTED, TIMED_OUT, UNFINISHED

MOST_SEEN = 5_000_000  # rows of a run's time series: a place at a time


class TooFine(Exception):
    """The time series would have more rows than a run may have."""


class Crowded(Exception):
    """More requests are under way than a run may have; the argument is how many had arrived."""


@dataclass
class Request:
    """What happened to one request; `open` counts its processes that have not ended yet."""

    flow: int
    index: int
    arrived_ms: float
    counted: bool
    replied_ms: float = nan
    completed_ms: float = nan
    answer: int = UNFINISHED
    outcome: int = OK  # so far
    attempts: int = 1
    undone: int = 0
    open: int = 0
    scope: "Scope" = field(default_factory=lambda: Scope())

    def vanish(self):
        self.outcome = UNFINISHED


@dataclass
class Scope:
    """What was committed in one try, or outside any: it is undone together, if it is given up."""

    committed: list = field(default_factory=list)
    given_up: bool = False


@dataclass
class ServiceRecord:
    """What a service did; busy times are those inside the measured window."""

    held_ms: float = 0.0
    working_ms: float = 0.0
    wait_ms: float = 0.0
    max_queue: int = 0
    handled: int = 0
    rejected: int = 0


@dataclass
class StepRecord:
    """What became of one step over all counted requests."""

    handled: int = 0
    failed: int = 0
    rejected: int = 0
    undone: int = 0
    tried: int = 0
    timed_out: int = 0
    broken: int = 0
    lost: int = 0
    redelivered: int = 0
    duplicates: int = 0
    dead: int = 0
    vanished: int = 0
    wait_ms: float = 0.0
    held_ms: float = 0.0


class Measures:
    """Counts and times, kept apart from the model so that the model can be read.

    The measured window runs from the arrival of the first counted request to the last arrival.
    """

    def __init__(self, env, plan, requests, warmup, series_ms, crowd):
        self.env, self.limit, self.warmup = env, requests, warmup
        self.series_ms, self.series = series_ms, []
        self.so_far = [[0, 0, 0] for _ in plan.flows]  # arrived, answered well, answered badly
        self.requests = []
        self.crowd, self.under_way = crowd, 0
        self.services = [ServiceRecord() for _ in plan.services]
        self.steps = [StepRecord() for _ in plan.steps]
        self.from_ms = self.to_ms = inf

    def observe(self, places, services, arriving):
        """Run to the end; every `series_ms` look at who is busy, who waits, and what was done.

        `arriving()` tells whether there are requests to come: when all is done nobody looks.
        """
        number, most = 1, MOST_SEEN // len(places)
        while (next_ms := self.env.peek()) < inf:
            while number * self.series_ms <= next_ms and (self.under_way or arriving()):
                if len(self.series) == most:
                    raise TooFine
                busy = [0 if place is None else place.count for place in places]
                waiting = [0 if place is None else len(place.put_queue) for place in places]
                for place, part in enumerate(services):  # who waits for it to be up again
                    waiting[place] += len(part.waiting)
                done = [list(counts) for counts in self.so_far]
                self.series.append((number * self.series_ms, busy, waiting, done))
                number += 1
            self.env.step()

    def ended(self, request):
        self.under_way -= 1
        if request.outcome != UNFINISHED:
            request.completed_ms = self.env.now

    def replied(self, request):
        self.so_far[request.flow][1 if request.answer == OK else 2] += 1

    @property
    def full(self):
        """Whether the run has all the requests that it shall have."""
        return len(self.requests) == self.limit

    def arrived(self, flow, index):
        """The next request."""
        if self.under_way == self.crowd:
            raise Crowded(len(self.requests))
        self.under_way += 1
        position = len(self.requests)
        if position == self.warmup:
            self.from_ms = self.env.now
        if position == self.limit - 1:
            self.to_ms = self.env.now
        self.so_far[flow][0] += 1
        self.requests.append(Request(flow, index, self.env.now, position >= self.warmup))
        return self.requests[-1]

    def queued(self, step, length):
        record = self.services[step.service]
        record.max_queue = max(record.max_queue, length)

    def rejected(self, step, job):
        self.steps[step.number].rejected += job.request.counted
        self.services[step.service].rejected += job.request.counted
        return REJECTED

    def tried(self, step, job, result):
        if job.request.counted:
            self.steps[step.number].tried += 1
            self.steps[step.number].timed_out += result == TIMED_OUT
            self.steps[step.number].broken += result == BROKEN

    def lost(self, step, job):
        self.steps[step.number].lost += job.request.counted

    def redelivered(self, step, job):
        self.steps[step.number].redelivered += job.request.counted

    def duplicate(self, step, job):
        self.steps[step.number].duplicates += job.request.counted

    def dead(self, step, job):
        self.steps[step.number].dead += job.request.counted

    def vanished(self, step, job):
        self.steps[step.number].vanished += job.request.counted

    def waited(self, step, job, asked_ms):
        if job.request.counted:
            self.steps[step.number].wait_ms += self.env.now - asked_ms
            self.services[step.service].wait_ms += self.env.now - asked_ms

    def worked(self, step, started_ms):
        self.services[step.service].working_ms += self.in_window(started_ms)

    def served(self, step, job, started_ms, result):
        record, service = self.steps[step.number], self.services[step.service]
        if step.mode != LOCAL:
            service.held_ms += self.in_window(started_ms)
        if job.request.counted:
            service.handled += step.mode != LOCAL
            record.handled += 1
            record.failed += result != OK
            record.held_ms += self.env.now - started_ms

    def undone(self, step, job, started_ms):
        service = self.services[step.service]
        service.held_ms += self.in_window(started_ms)
        service.working_ms += self.in_window(started_ms)
        job.request.undone += 1
        self.steps[step.number].undone += job.request.counted

    def in_window(self, started_ms):
        """The part of the time from `started_ms` to now that lies in the measured window."""
        return max(min(self.env.now, self.to_ms) - max(started_ms, self.from_ms), 0.0)
