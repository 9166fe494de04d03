"""The model that the book shows, written in SimPy to be read.

Times are in milliseconds. A request enters its flow's first step and is *replied* when that step is
done; it is *completed* when everything that it started is done, undo work included. Every random
number belongs to whoever draws it (`draws.py`), never to the order of events, so `compiled.py`
produces the same times for every request.
"""

from dataclasses import dataclass, field
from math import inf

import simpy

from models.engine import draws
from models.engine.plan import LOCAL, MESSAGE, NO_LIMIT, PROFILE, TIMESTAMPS, UNLIMITED

OK, FAILED, REJECTED = 0, 1, 2


class Simulation:
    """One run of a plan: `requests` arrivals over all flows, the first `warmup` not measured."""

    def __init__(self, plan, requests, seed, warmup=0):
        self.plan, self.seed = plan, seed
        self.env = simpy.Environment()
        self.workers = [
            None if service.workers == UNLIMITED else simpy.Resource(self.env, service.workers)
            for service in plan.services
        ]
        self.calls_waiting = [0] * len(plan.services)
        self.lanes = [simpy.Resource(self.env, 1) for _ in range(plan.lanes)]
        self.measures = Measures(self.env, plan, requests, warmup)

    def run(self):
        for flow in self.plan.flows:
            self.env.process(self.arrivals(flow))
        self.env.run()
        return self.measures

    # Steps: workers, work, children

    def step(self, step, request):
        """Wait for a worker, work, then the children; the worker is held to the very end."""
        workers = self.workers[step.service]
        if workers is None or step.mode == LOCAL:
            return (yield from self.serve(step, request))
        if self.turned_away(step, workers):
            return self.measures.rejected(step, request)
        asked_ms = self.env.now
        waits_here = step.mode != MESSAGE  # a message waits in the broker's log instead
        self.calls_waiting[step.service] += waits_here
        with workers.request() as turn:
            self.measures.queued(step, len(workers.put_queue))
            yield turn
            self.calls_waiting[step.service] -= waits_here
            self.measures.waited(step, request, asked_ms)
            return (yield from self.serve(step, request))

    def turned_away(self, step, workers):
        """Whether a call finds all workers busy and every place to wait taken."""
        limit = self.plan.services[step.service].queue_limit
        if limit == NO_LIMIT or step.mode == MESSAGE or workers.count < workers.capacity:
            return False
        return self.calls_waiting[step.service] >= limit

    def serve(self, step, request):
        """The step's own work, which is its local transaction; then its children."""
        started_ms = self.env.now
        yield from self.pause(self.draw(step.work, step, request, draws.WORK))
        self.measures.worked(step, started_ms)
        if step.fails and self.uniform(step, request, draws.FAILS) < step.fails:
            result = FAILED
        else:
            self.commit(step, request)
            result = yield from self.children(step, request)
        self.measures.served(step, request, started_ms, result)
        return result

    def children(self, step, request):
        """One after the other until one fails; or all together, waiting for the last."""
        children = [self.plan.steps[number] for number in step.children]
        if step.in_parallel and children:
            branches = [self.env.process(self.ask(child, request)) for child in children]
            yield self.env.all_of(branches)
            return OK if all(branch.value == OK for branch in branches) else FAILED
        for child in children:
            if (yield from self.ask(child, request)) != OK:
                return FAILED
        return OK

    # Calls and messages

    def ask(self, step, request):
        """Reach a child step: half a round trip there, the step, half a round trip back."""
        if step.mode == MESSAGE:
            return (yield from self.publish(step, request))
        half_ms = self.draw(step.network, step, request, draws.NETWORK) / 2
        yield from self.pause(half_ms)
        result = yield from self.step(step, request)
        yield from self.pause(half_ms)
        return result

    def publish(self, step, request):
        """Hand a message to the broker: a round trip and its acknowledgement, then go on."""
        half_ms = self.draw(step.network, step, request, draws.NETWORK) / 2
        yield from self.pause(half_ms)
        yield from self.pause(self.draw(step.ack, step, request, draws.ACK))
        self.start(request, self.deliver(step, request))
        yield from self.pause(half_ms)
        return OK

    def deliver(self, step, request):
        """Cross to the consumer, wait in the log for the lane and a worker, be processed."""
        yield from self.pause(self.draw(step.delivery, step, request, draws.DELIVERY) / 2)
        if step.lanes:
            partition = int(step.partitions * self.uniform(step, request, draws.PARTITION))
            asked_ms = self.env.now
            with self.lanes[step.first_lane + partition % step.lanes].request() as turn:
                yield turn
                self.measures.waited(step, request, asked_ms)
                result = yield from self.step(step, request)
        else:
            result = yield from self.step(step, request)
        if result != OK:
            self.give_up(request, FAILED)

    # Sagas: commit, give up, undo

    def commit(self, step, request):
        """A local transaction is done; if the saga has been given up meanwhile, undo it at once."""
        if step.undo is not None:
            if request.outcome == OK:
                request.committed.append(step)
            else:
                self.start(request, self.undo(step, request))

    def give_up(self, request, outcome):
        """The saga has failed: undo, all at once, every step that has committed."""
        if request.outcome == OK:
            request.outcome = outcome
            for step in request.committed:
                self.start(request, self.undo(step, request))

    def undo(self, step, request):
        """Travel as the step's order did, wait for a worker (never turned away), undo."""
        yield from self.pause(self.draw(step.network, step, request, draws.UNDO_NETWORK) / 2)
        if step.mode == MESSAGE:
            yield from self.pause(self.draw(step.ack, step, request, draws.UNDO_ACK))
            yield from self.pause(self.draw(step.delivery, step, request, draws.UNDO_DELIVERY) / 2)
        if (workers := self.workers[step.service]) is None:
            yield from self.undo_work(step, request)
        else:
            with workers.request() as turn:
                self.measures.queued(step, len(workers.put_queue))
                yield turn
                yield from self.undo_work(step, request)

    def undo_work(self, step, request):
        started_ms = self.env.now
        yield from self.pause(self.draw(step.undo, step, request, draws.UNDO_WORK))
        self.measures.undone(step, request, started_ms)

    # Requests and their arrivals

    def answer(self, request, root):
        """The part of a request that somebody waits for."""
        request.answer = yield from self.step(root, request)
        request.replied_ms = self.env.now
        if request.answer != OK:
            self.give_up(request, request.answer)

    def start(self, request, work):
        """Start a process of its own; the request is completed when its last one has ended."""

        def process():
            yield from work
            request.open -= 1
            if request.open == 0:
                request.completed_ms = self.env.now

        request.open += 1
        self.env.process(process())

    def arrivals(self, flow):
        """Let one flow's requests in until the run has all that it shall have."""
        root = self.plan.steps[flow.root]
        group = index = 0
        while (gap_ms := self.gap(flow, group)) < inf:
            yield self.env.timeout(gap_ms)
            for _ in range(flow.size):
                request = self.measures.arrived(root.flow, index)
                if request is None:
                    return
                self.start(request, self.answer(request, root))
                index += 1
            group += 1

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

    def draw(self, distribution, step, request, purpose):
        return self.sample(distribution, step.stream, request.index, purpose)

    def uniform(self, step, request, purpose):
        return draws.uniforms(self.seed, step.stream, request.index, 0, purpose, 0)[0]

    def sample(self, distribution, stream, index, purpose):
        d = distribution
        return draws.sample(
            d.kind, d.p0, d.p1, d.p2, d.values, self.seed, stream, index, 0, purpose
        )


@dataclass
class Request:
    """What happened to one request; `open` counts its processes that have not ended yet."""

    flow: int
    index: int
    arrived_ms: float
    counted: bool
    replied_ms: float = 0.0
    completed_ms: float = 0.0
    answer: int = OK
    outcome: int = OK
    attempts: int = 1
    undone: int = 0
    open: int = 0
    committed: list = field(default_factory=list)


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
    wait_ms: float = 0.0
    held_ms: float = 0.0


class Measures:
    """Counts and times, kept apart from the model so that the model can be read.

    The measured window runs from the arrival of the first counted request to the last arrival.
    """

    def __init__(self, env, plan, requests, warmup):
        self.env, self.limit, self.warmup = env, requests, warmup
        self.requests = []
        self.services = [ServiceRecord() for _ in plan.services]
        self.steps = [StepRecord() for _ in plan.steps]
        self.from_ms = self.to_ms = inf

    def arrived(self, flow, index):
        """The next request, or None if the run has all of them."""
        position = len(self.requests)
        if position == self.limit:
            return None
        if position == self.warmup:
            self.from_ms = self.env.now
        if position == self.limit - 1:
            self.to_ms = self.env.now
        self.requests.append(Request(flow, index, self.env.now, position >= self.warmup))
        return self.requests[-1]

    def queued(self, step, length):
        record = self.services[step.service]
        record.max_queue = max(record.max_queue, length)

    def rejected(self, step, request):
        self.steps[step.number].rejected += request.counted
        self.services[step.service].rejected += request.counted
        return REJECTED

    def waited(self, step, request, asked_ms):
        if request.counted:
            self.steps[step.number].wait_ms += self.env.now - asked_ms
            self.services[step.service].wait_ms += self.env.now - asked_ms

    def worked(self, step, started_ms):
        self.services[step.service].working_ms += self.in_window(started_ms)

    def served(self, step, request, started_ms, result):
        record, service = self.steps[step.number], self.services[step.service]
        if step.mode != LOCAL:
            service.held_ms += self.in_window(started_ms)
        if request.counted:
            service.handled += step.mode != LOCAL
            record.handled += 1
            record.failed += result != OK
            record.held_ms += self.env.now - started_ms

    def undone(self, step, request, started_ms):
        service = self.services[step.service]
        service.held_ms += self.in_window(started_ms)
        service.working_ms += self.in_window(started_ms)
        request.undone += 1
        self.steps[step.number].undone += request.counted

    def in_window(self, started_ms):
        """The part of the time from `started_ms` to now that lies in the measured window."""
        return max(min(self.env.now, self.to_ms) - max(started_ms, self.from_ms), 0.0)
