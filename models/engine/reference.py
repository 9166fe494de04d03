"""The model that the book shows, written in SimPy to be read.

Times are in milliseconds. A request enters its flow's first step and is *replied* when that step is
done; it is *completed* when everything that it started is done, undo work included. Every random
number belongs to whoever draws it (`draws.py`), never to the order of events, so `compiled.py`
produces the same times for every request.
"""

from dataclasses import dataclass, field, replace
from math import inf, nan

import simpy

from models.engine import draws, policies
from models.engine.plan import DRAWN, LOCAL, MESSAGE, NO_LIMIT, NONE, PROFILE, TIMESTAMPS, UNLIMITED
from models.engine.policies import (
    BROKEN,
    FAILED,
    LOST,
    OK,
    REJECTED,
    TIMED_OUT,
    UNAVAILABLE,
    UNFINISHED,
)


class Simulation:
    """One run of a plan: `requests` arrivals over all flows, the first `warmup` not measured."""

    def __init__(self, plan, requests, seed, warmup=0, series_ms=inf):
        self.plan, self.seed = plan, seed
        self.env = simpy.Environment()
        self.workers = [
            None if service.workers == UNLIMITED else Workers(self.env, service.workers)
            for service in plan.services
        ]
        self.calls_waiting = [0] * len(plan.services)
        self.empty_ms = [0.0] * len(plan.services)  # when nobody waited last
        self.lanes = [simpy.Resource(self.env, 1) for _ in range(plan.lanes)]
        self.edges = [
            step.policy and policies.Edge(tokens=step.policy.budget) for step in plan.steps
        ]
        self.rings = [[0] * (step.policy.window if step.policy else 0) for step in plan.steps]
        fragile = plan.fragile
        self.parts = [Part() for _ in range(len(plan.services) + plan.brokers + plan.links)]
        self.apart = [  # in a process of its own, since it or its caller can fall
            step.mode != LOCAL
            and (step.service in fragile
                 or step.parent != NONE and plan.steps[step.parent].service in fragile)
            for step in plan.steps
        ]  # fmt: skip
        self.arriving = len(plan.flows)
        self.measures = Measures(self.env, plan, requests, warmup, series_ms)

    def run(self):
        for flow in self.plan.flows:
            self.env.process(self.arrivals(flow))
        for outage in self.plan.outages:
            self.env.process(self.outage(outage))
        self.measures.observe(self.workers, self.lanes)
        return self.measures

    # Steps: workers, work, children

    def step(self, step, job):
        """A step at its service; where that can fall, in a process of its own that falls with it."""
        if not self.apart[step.number]:
            return (yield from self.visit(step, job))
        service = self.parts[step.service]
        if service.down and step.mode != MESSAGE:
            return (yield from self.refused(step, job, service))
        yield from self.until_up(service)
        result = yield self.start(job.request, self.exposed(step, job))
        return UNAVAILABLE if result == LOST and step.mode != MESSAGE else result

    def visit(self, step, job):
        """Wait for a worker, work, then the children; the worker is held to the very end."""
        workers = self.workers[step.service]
        waits_here = step.mode not in (LOCAL, MESSAGE)  # a message waits in the broker's log
        if waits_here or workers is None:
            self.enter(step, job)
        if workers is None or step.mode == LOCAL:
            return (yield from self.serve(step, job))
        if self.turned_away(step, workers):
            return self.measures.rejected(step, job)
        asked_ms = self.env.now
        self.calls_waiting[step.service] += waits_here
        with workers.request() as turn:
            self.measures.queued(step, len(workers.put_queue))
            try:
                yield turn
            finally:
                self.calls_waiting[step.service] -= waits_here
            self.enter(step, job)
            self.measures.waited(step, job, asked_ms)
            if waits_here and self.comes_too_late(step, job, asked_ms):
                return self.measures.rejected(step, job)
            return (yield from self.serve(step, job))

    def turned_away(self, step, workers):
        """Whether a call finds all workers busy and every place to wait taken."""
        limit = self.plan.services[step.service].queue_limit
        if limit == NO_LIMIT or step.mode == MESSAGE or workers.count < workers.capacity:
            return False
        return self.calls_waiting[step.service] >= limit

    def comes_too_late(self, step, job, asked_ms):
        """Load shedding at the head of the queue: by deadline, or by the time spent waiting.

        The wait that is allowed is short where the queue has not been empty for a long time, else
        long: B. Maurer, "Fail at Scale", ACM Queue 13 (2015), after the CoDel of Nichols, Jacobson.
        """
        service, now = self.plan.services[step.service], self.env.now
        standing = now - self.empty_ms[step.service] > service.patient_ms
        if self.calls_waiting[step.service] == 0:
            self.empty_ms[step.service] = now
        if service.sheds_late and now >= job.deadline_ms:
            return True
        return now - asked_ms > (service.strict_ms if standing else service.patient_ms)

    def serve(self, step, job):
        """The step's own work, which is its local transaction; then its children."""
        started_ms = self.env.now
        yield from self.pause(self.draw(step.work, step, job, draws.WORK))
        self.measures.worked(step, started_ms)
        if step.errors and self.uniform(step, job, draws.ERRORS) < step.errors:
            result = UNAVAILABLE
        elif step.fails and self.uniform(step, job, draws.FAILS) < step.fails:
            result = FAILED
        else:
            self.commit(step, job)
            result = yield from self.children(step, job)
        self.measures.served(step, job, started_ms, result)
        return result

    def children(self, step, job):
        """One after the other until one fails; or all together, waiting for the last."""
        children = [self.plan.steps[number] for number in step.children]
        if step.in_parallel and children:
            branches = [self.start(job.request, self.call(child, job)) for child in children]
            yield self.env.all_of(branches)
            results = [branch.value for branch in branches if branch.value != OK]
            return min(map(policies.passed_on, results), default=OK)
        for child in children:
            if (result := (yield from self.call(child, job))) != OK:
                return policies.passed_on(result)
        return OK

    # Calls and messages

    def ask(self, step, job):
        """Reach a child step: half a round trip there, the step, half a round trip back."""
        if step.mode == MESSAGE:
            return (yield from self.publish(step, job))
        half_ms = self.draw(step.network, step, job, draws.NETWORK) / 2
        if self.is_down(step.link):
            return (yield from self.refused(step, job, self.parts[step.link]))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_THERE)
        result = yield from self.step(step, job)
        if self.is_down(step.link):
            return (yield from self.refused(step, job, self.parts[step.link]))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_BACK)
        return result

    def publish(self, step, job):
        """Hand a message to the broker: a round trip and its acknowledgement, then go on."""
        half_ms = self.draw(step.network, step, job, draws.NETWORK) / 2
        for part in (step.link, step.broker):
            if self.is_down(part):
                return (yield from self.refused(step, job, self.parts[part]))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_THERE)
        yield from self.pause(self.draw(step.ack, step, job, draws.ACK))
        self.start(job.request, self.deliver(step, job.sent()))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_BACK)
        return OK

    def cross(self, half_ms, loss, step, job, purpose):
        """Half a round trip; each time that the segment is lost costs a time-out, then twice that.

        The first is 200 ms, the least that Linux waits (`TCP_RTO_MIN`); it doubles, RFC 6298.
        """
        lost_ms = 0.0
        if loss:
            lost_ms = draws.retransmission_ms(loss, self.uniform(step, job, purpose))
        yield from self.pause(half_ms + lost_ms)

    def deliver(self, step, job):
        """Cross to the consumer, wait in the log for the lane and a worker, be processed."""
        way = [self.parts[part] for part in (step.broker, step.delivery_link) if part != NONE]
        while down := [part for part in way if part.down]:
            yield from self.until_up(down[0])
        half_ms = self.draw(step.delivery, step, job, draws.DELIVERY) / 2
        yield from self.cross(half_ms, step.delivery_loss, step, job, draws.LOSS_DELIVERY)
        if step.lanes:
            partition = int(step.partitions * self.uniform(step, job, draws.PARTITION))
            asked_ms = self.env.now
            with self.lanes[step.first_lane + partition % step.lanes].request() as turn:
                yield turn
                self.measures.waited(step, job, asked_ms)
                result = yield from self.process(step, job)
        else:
            result = yield from self.process(step, job)
        if result != OK:
            self.give_up(job.request, FAILED)

    def process(self, step, job):
        """The consumer's step, again and again until no outage has taken it in the middle."""
        deliveries = 0
        while (result := (yield from self.step(step, job.again(deliveries)))) == LOST:
            deliveries += 1
            self.measures.redelivered(step, job)
        return result

    # Outages: services with what they have in hand, brokers, links

    def outage(self, outage):
        """Parts that go down together, at given times or by turns as long as requests arrive."""
        windows = iter(outage.windows)
        turn = 0
        while True:
            if outage.up is None:
                from_ms, to_ms = next(windows, (inf, inf))
            elif self.arriving == 0:
                return
            else:
                up_ms = self.sample(outage.up, outage.stream, turn, draws.UP)
                down_ms = self.sample(outage.down, outage.stream, turn, draws.DOWN)
                from_ms, to_ms = self.env.now + up_ms, self.env.now + up_ms + down_ms
            if from_ms == inf:
                return
            yield self.env.timeout(max(from_ms - self.env.now, 0.0))
            for number in outage.parts:
                self.fall(number, outage)
            yield self.env.timeout(max(to_ms - self.env.now, 0.0))
            for number in outage.parts:
                self.rise(number, outage)
            turn += 1

    def fall(self, number, outage):
        """A part goes down, or an instance of it; what it has in hand is lost unless it drains."""
        part = self.parts[number]
        if outage.instances:
            part.taken += self.instance_workers(number, outage)
        else:
            part.down += 1
            part.hangs = outage.hangs
        self.resize(number)
        if not outage.drains:
            for process, index in part.inside.items():
                if not outage.instances or index % outage.instances == outage.instance:
                    process.interrupt()

    def rise(self, number, outage):
        part = self.parts[number]
        if outage.instances:
            part.taken -= self.instance_workers(number, outage)
        else:
            part.down -= 1
        self.resize(number)
        if not part.down:
            waiting, part.waiting = part.waiting, []
            for event in waiting:
                event.succeed()

    def instance_workers(self, number, outage):
        """The workers of one instance; the first ones have one more where they cannot be equal."""
        workers = self.plan.services[number].workers
        return workers // outage.instances + (outage.instance < workers % outage.instances)

    def resize(self, number):
        if number < len(self.workers) and self.workers[number] is not None:
            part, workers = self.parts[number], self.plan.services[number].workers
            self.workers[number].resize(0 if part.down else max(workers - part.taken, 0))

    def exposed(self, step, job):
        """A visit to a service that can fall. Whoever called hears of it at once or afterwards."""
        service = self.parts[step.service]
        try:
            return (yield from self.visit(step, job))
        except simpy.Interrupt:
            service.inside.pop(self.env.active_process, None)
            self.measures.lost(step, job)
            if service.hangs and step.mode != MESSAGE:
                yield from self.until_up(service)
            return LOST
        finally:
            service.inside.pop(self.env.active_process, None)

    def enter(self, step, job):
        """From now on the step is in the service's hands, and lost if the service falls."""
        if self.apart[step.number]:
            self.parts[step.service].inside[self.env.active_process] = job.request.index

    def is_down(self, number):
        return number != NONE and self.parts[number].down > 0

    def refused(self, step, job, part):
        """What is down does not answer: an error at once, or when it is up again."""
        self.measures.lost(step, job)
        if part.hangs:
            yield from self.until_up(part)
        return UNAVAILABLE

    def until_up(self, part):
        while part.down:
            part.waiting.append(self.env.event())
            yield part.waiting[-1]

    # Policies: time limits, retries, breakers (what they decide is in policies.py)

    def call(self, step, job):
        """Ask, and where the edge has a policy: within a time limit, again and again, or not."""
        policy, edge = step.policy, self.edges[step.number]
        if policy is None:
            return (yield from self.ask(step, job))
        if policy.budget < inf:
            policies.earns(edge, policy, self.env.now)
        tries, pause_ms = 0, 0.0
        while True:
            part = self.part(step, job, draws.again(job.attempt, tries))
            chance = self.uniform(step, part, draws.THROTTLE) if policy.throttle else 0.0
            if policies.lets_through(edge, policy, self.env.now, chance):
                result = yield from self.attempt(step, job, part)
                policies.answered(edge, policy, self.rings[step.number], 0, result, self.env.now)
            else:
                result = BROKEN
            tries += 1
            self.measures.tried(step, job, result)
            if not policies.tries_again(edge, policy, result, tries, self.env.now):
                return result
            job.request.attempts += 1
            pause_ms = self.back_off(step, part, tries, pause_ms)
            yield from self.pause(pause_ms)

    def part(self, step, job, attempt):
        """The job of one try, with the limit of the caller's patience and of its own deadline."""
        limit_ms = self.sample(step.policy.limit, step.stream, job.request.index,
                               draws.TIME_LIMIT, attempt)  # fmt: skip
        ends_ms = min(self.env.now + limit_ms, job.deadline_ms)
        return Job(job.request, attempt, Scope(), ends_ms if step.policy.passes else inf, ends_ms)

    def attempt(self, step, job, part):
        """One try. The caller waits no longer than its limit; the callee goes on all the same."""
        answer = self.start(job.request, self.ask(step, part))
        try:
            if part.ends_ms < inf:
                yield answer | self.env.timeout(max(part.ends_ms - self.env.now, 0.0))
            else:
                yield answer
        except simpy.Interrupt:  # the caller's service has fallen
            self.drop(job.request, part.scope)
            raise
        result = answer.value if answer.triggered else TIMED_OUT
        if result == OK and not job.scope.given_up:
            job.scope.committed += part.scope.committed
        else:
            self.drop(job.request, part.scope)
        return result

    def back_off(self, step, part, tries, previous_ms):
        policy = step.policy
        drawn_ms = (
            self.draw(policy.pause, step, part, draws.BACKOFF) if policy.backoff == DRAWN else 0.0
        )
        uniform = self.uniform(step, part, draws.BACKOFF) if policy.backoff > DRAWN else 0.0
        return policies.pause_ms(policy, tries, previous_ms, uniform, drawn_ms)

    # Sagas: commit, give up, undo

    def commit(self, step, job):
        """A local transaction is done; if the saga has been given up meanwhile, undo it at once."""
        if step.undo is not None:
            if job.scope.given_up:
                self.start(job.request, self.undo(step, job))
            else:
                job.scope.committed.append((step, job))

    def give_up(self, request, outcome):
        """The saga has failed: undo, all at once, every step that has committed."""
        if request.outcome == OK:
            request.outcome = outcome
            self.drop(request, request.scope)

    def drop(self, request, scope):
        scope.given_up = True
        for step, job in scope.committed:
            self.start(request, self.undo(step, job))

    def undo(self, step, job):
        """Travel as the step's order did, wait for a worker (never turned away), undo."""
        yield from self.pause(self.draw(step.network, step, job, draws.UNDO_NETWORK) / 2)
        if step.mode == MESSAGE:
            yield from self.pause(self.draw(step.ack, step, job, draws.UNDO_ACK))
            yield from self.pause(self.draw(step.delivery, step, job, draws.UNDO_DELIVERY) / 2)
        if (workers := self.workers[step.service]) is None:
            yield from self.undo_work(step, job)
        else:
            with workers.request() as turn:
                self.measures.queued(step, len(workers.put_queue))
                yield turn
                yield from self.undo_work(step, job)

    def undo_work(self, step, job):
        started_ms = self.env.now
        yield from self.pause(self.draw(step.undo, step, job, draws.UNDO_WORK))
        self.measures.undone(step, job, started_ms)

    # Requests and their arrivals

    def answer(self, request, root):
        """The part of a request that somebody waits for."""
        result = yield from self.call(root, Job(request, 0, request.scope))
        request.answer = result if result in (OK, REJECTED) else FAILED
        request.replied_ms = self.env.now
        self.measures.replied(request)
        if request.answer != OK:
            self.give_up(request, request.answer)

    def start(self, request, work):
        """Start a process of its own; the request is completed when its last one has ended."""

        def process():
            result = yield from work
            request.open -= 1
            if request.open == 0:
                request.completed_ms = self.env.now
            return result

        request.open += 1
        return self.env.process(process())

    def arrivals(self, flow):
        """Let one flow's requests in until the run has all that it shall have."""
        root = self.plan.steps[flow.root]
        group = index = 0
        while not self.measures.full and (gap_ms := self.gap(flow, group)) < inf:
            yield self.env.timeout(gap_ms)
            for _ in range(flow.size):
                if not self.measures.full:
                    request = self.measures.arrived(root.flow, index)
                    self.start(request, self.answer(request, root))
                    index += 1
            group += 1
        self.arriving -= 1

    def gap(self, flow, group):
        """Time from now to the flow's next arrival; infinite after the last."""
        if flow.arrivals == TIMESTAMPS:
            if group == len(flow.times_ms):
                return inf
            return max(flow.times_ms[group] - self.env.now, 0.0)
        amount = self.sample(flow.gap, flow.stream, group, draws.ARRIVAL)
        if flow.arrivals == PROFILE:
            return draws.profile_gap(
                self.env.now, amount, flow.starts_ms, flow.factors, flow.period_ms
            )
        return amount

    # Time and chance

    def pause(self, ms):
        if ms > 0:
            yield self.env.timeout(ms)

    def draw(self, distribution, step, job, purpose):
        return self.sample(distribution, step.stream, job.request.index, purpose, job.attempt)

    def uniform(self, step, job, purpose):
        index = job.request.index
        return draws.uniforms(self.seed, step.stream, index, job.attempt, purpose, 0)[0]

    def sample(self, distribution, stream, index, purpose, attempt=0):
        d = distribution
        return draws.sample(
            d.kind, d.p0, d.p1, d.p2, d.values, self.seed, stream, index, attempt, purpose
        )


class Workers(simpy.Resource):
    """Workers whose number changes while they work; whoever works goes on to the end."""

    def resize(self, capacity):
        self._capacity = capacity
        while self.put_queue and self.count < capacity:
            self._trigger_put(None)


@dataclass
class Part:
    """A service, broker or link that can go down: what it has in hand, and who waits for it."""

    down: int = 0
    taken: int = 0
    hangs: bool = False
    inside: dict = field(default_factory=dict)
    waiting: list = field(default_factory=list)


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


@dataclass
class Scope:
    """What was committed in one try, or outside any: it is undone together, if it is given up."""

    committed: list = field(default_factory=list)
    given_up: bool = False


@dataclass(frozen=True)
class Job:
    """On whose behalf a step is done: a request and one of its attempts.

    The callee knows `deadline_ms`; the caller waits until `ends_ms`.
    """

    request: Request
    attempt: int
    scope: Scope
    deadline_ms: float = inf
    ends_ms: float = inf

    def again(self, tries):
        return replace(self, attempt=draws.again(self.attempt, tries)) if tries else self

    def sent(self):
        """A message cannot be called back: only if the whole saga fails is its work undone."""
        return Job(self.request, self.attempt, self.request.scope)


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
    wait_ms: float = 0.0
    held_ms: float = 0.0


class Measures:
    """Counts and times, kept apart from the model so that the model can be read.

    The measured window runs from the arrival of the first counted request to the last arrival.
    """

    def __init__(self, env, plan, requests, warmup, series_ms):
        self.env, self.limit, self.warmup = env, requests, warmup
        self.series_ms, self.series = series_ms, []
        self.so_far = [[0, 0, 0] for _ in plan.flows]  # arrived, answered well, answered badly
        self.requests = []
        self.services = [ServiceRecord() for _ in plan.services]
        self.steps = [StepRecord() for _ in plan.steps]
        self.from_ms = self.to_ms = inf

    def observe(self, workers, lanes):
        """Run to the end; every `series_ms` look at who is busy, who waits, and what was done."""
        number = 1
        while (next_ms := self.env.peek()) < inf:
            while number * self.series_ms <= next_ms:
                places = [*workers, *lanes]
                busy = [0 if place is None else place.count for place in places]
                waiting = [0 if place is None else len(place.put_queue) for place in places]
                done = [list(counts) for counts in self.so_far]
                self.series.append((number * self.series_ms, busy, waiting, done))
                number += 1
            self.env.step()

    def replied(self, request):
        self.so_far[request.flow][1 if request.answer == OK else 2] += 1

    @property
    def full(self):
        """Whether the run has all the requests that it shall have."""
        return len(self.requests) == self.limit

    def arrived(self, flow, index):
        """The next request."""
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
