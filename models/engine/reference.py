"""The model that the book shows, written in SimPy to be read.

Times are in milliseconds. A request enters its flow's first step and is *replied* when that step is
done; it is *completed* when everything that it started is done, undo work included. Every random
number belongs to whoever draws it (`draws.py`), never to the order of events, so `compiled.py`
produces the same times for every request.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf

import simpy

from models.engine import draws, policies
from models.engine.measures import Measures, Request, Scope
from models.engine.messages import Group, Message, Messages, Outbox
from models.engine.outages import Outages, Part, Workers
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


class Simulation(Messages, Outages):
    """One run of a plan: `requests` arrivals over all flows, the first `warmup` not measured.

    Raises Crowded where more than `crowd` requests are under way at once, TooFine where the time
    series would have more than MOST_SEEN rows.
    """

    def __init__(self, plan, requests, seed, warmup=0, series_ms=inf, crowd=inf):
        self.plan, self.seed = plan, seed
        self.env = simpy.Environment()
        self.workers = [
            None if service.workers == UNLIMITED else Workers(self.env, service.workers)
            for service in plan.services
        ]
        self.calls_waiting = [0] * len(plan.services)
        self.empty_ms = [0.0] * len(plan.services)  # when last no call waited
        self.lanes = [Workers(self.env, 1) for _ in range(plan.lanes)]
        self.groups = [Group(self.env, group) for group in plan.groups]
        self.outboxes = [Outbox(self.env, outbox) for outbox in plan.outboxes]
        self.edges = [
            step.policy and policies.Edge(tokens=step.policy.budget) for step in plan.steps
        ]
        self.rings = [[0] * (step.policy.window if step.policy else 0) for step in plan.steps]
        fragile = plan.fragile
        self.parts = [Part() for _ in range(plan.first_group + len(plan.groups))]
        self.apart = [  # in a process of its own, since it or its caller can fall
            step.mode != LOCAL
            and (step.service in fragile
                 or step.parent != NONE and plan.steps[step.parent].service in fragile)
            for step in plan.steps
        ]  # fmt: skip
        self.arriving = len(plan.flows)
        self.measures = Measures(self.env, plan, requests, warmup, series_ms, crowd)

    def run(self):
        for flow in self.plan.flows:
            self.env.process(self.arrivals(flow))
        for outage in self.plan.outages:
            self.env.process(self.outage(outage))
        rooms = [group.room for group in self.groups]
        services = self.parts[: len(self.workers)]
        self.measures.observe([*self.workers, *self.lanes, *rooms], services, lambda: self.arriving)
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
            if step.mode == MESSAGE and self.has_expired(step, job):
                return self.vanish(step, job)
            return (yield from self.serve(step, job))
        if self.turned_away(step, workers):
            return self.measures.rejected(step, job)
        asked_ms = self.env.now
        if self.calls_waiting[step.service] == 0:
            self.empty_ms[step.service] = asked_ms
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
            if step.mode == MESSAGE and self.has_expired(step, job):
                return self.vanish(step, job)
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
        if service.sheds_late and now >= job.deadline_ms:
            return True
        return now - asked_ms > (service.strict_ms if standing else service.patient_ms)

    def serve(self, step, job):
        """The step's own work, if it has not been done before; then its children."""
        started_ms = self.env.now
        result = OK
        if not self.is_recognised(step, job):
            result = yield from self.work(step, job)
        if result == OK:
            result = yield from self.children(step, job)
        self.measures.served(step, job, started_ms, result)
        return result

    def work(self, step, job):
        """The local transaction: it breaks off, fails, or commits."""
        started_ms = self.env.now
        work_ms = self.draw(step.work, step, job, draws.WORK)
        yield from self.pause(work_ms + self.overhead_ms(step, job))
        self.measures.worked(step, started_ms)
        if step.errors and self.uniform(step, job, draws.ERRORS) < step.errors:
            return UNAVAILABLE
        if step.fails and self.uniform(step, job, draws.FAILS) < step.fails:
            return FAILED
        self.commit(step, job)
        return OK

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
        there_ms, toll_ms = self.toll_ms(step, job, half_ms)
        yield from self.cross(there_ms, step.loss, step, job, draws.LOSS_THERE, toll_ms)
        result = yield from self.step(step, job)
        if self.is_down(step.link):
            return (yield from self.refused(step, job, self.parts[step.link]))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_BACK)
        return result

    def cross(self, half_ms, loss, step, job, purpose, toll_ms=0.0):
        """Half a round trip; each time that the segment is lost costs a time-out, then twice that.

        The first is 200 ms, the least that Linux waits (`TCP_RTO_MIN`); it doubles, RFC 6298.
        """
        lost_ms = 0.0
        if loss:
            lost_ms = draws.retransmission_ms(loss, self.uniform(step, job, purpose))
        yield from self.pause(half_ms + (lost_ms + toll_ms))

    # Mesh: what its proxies, its encryption and its telemetry cost

    def toll_ms(self, step, job, half_ms):
        """The way there with a handshake, if no session can be gone on with, and the proxies."""
        toll = step.toll
        if toll is None:
            return half_ms, 0.0
        if toll.fresh and self.uniform(step, job, draws.HANDSHAKE) < toll.fresh:
            return half_ms * (1 + 2 * toll.round_trips), toll.hop_ms + toll.handshake_ms
        return half_ms, toll.hop_ms

    def overhead_ms(self, step, job):
        """What the callee's worker does for its proxy, and for the trace if there is one."""
        toll = step.toll
        if toll is None:
            return 0.0
        index = job.request.index
        if toll.sampled and (
            draws.uniforms(self.seed, toll.trace, index, 0, draws.SAMPLED, 0)[0] < toll.sampled
        ):
            return toll.work_ms + toll.span_ms
        return toll.work_ms

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
                turn = edge.turn
                with self.hanging_up(step, tries, True, turn):
                    result = yield from self.attempt(step, job, part)
                policies.answered(
                    edge, policy, self.rings[step.number], 0, result, self.env.now, turn
                )
            else:
                result = BROKEN
            tries += 1
            self.measures.tried(step, job, result)
            if not policies.tries_again(edge, policy, result, tries, self.env.now):
                return result
            job.request.attempts += 1
            pause_ms = self.back_off(step, part, tries, pause_ms)
            with self.hanging_up(step, tries, False, edge.turn):
                yield from self.pause(pause_ms)

    @contextmanager
    def hanging_up(self, step, tries, asks, turn):
        """If the caller's service falls meanwhile, its edge has one call less."""
        try:
            yield
        except simpy.Interrupt:
            policies.hangs_up(self.edges[step.number], step.policy, tries, asks, turn)
            raise

    def part(self, step, job, attempt):
        """The job of one try, with the limit of the caller's patience and of its own deadline."""
        limit_ms = self.sample(step.policy.limit, step.stream, job.request.index,
                               draws.TIME_LIMIT, attempt)  # fmt: skip
        ends_ms = min(self.env.now + limit_ms, job.deadline_ms)
        deadline_ms = ends_ms if step.policy.passes else job.deadline_ms
        return Job(job.request, attempt, Scope(), deadline_ms, ends_ms)

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
        self.remember(step, job)
        if step.undo is not None:
            if job.scope.given_up:
                self.start(job.request, self.undo(step, job))
            else:
                job.scope.committed.append((step, job))

    def give_up(self, request, outcome):
        """The saga has failed: undo, all at once, every step that has committed."""
        if request.outcome in (OK, UNFINISHED):
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
                self.measures.ended(request)
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
    message: Message | None = None

    def again(self, tries):
        return replace(self, attempt=draws.again(self.attempt, tries)) if tries else self

    def sent(self):
        """A message cannot be called back: only if the whole saga fails is its work undone."""
        return Job(self.request, self.attempt, self.request.scope, message=Message())
