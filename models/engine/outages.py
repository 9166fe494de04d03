"""Outages, a part of the reference: services with what they have in hand, brokers, links, consumers.

What is down answers with an error, at once or when it is up again; what a service had in hand is
lost, what a broker holds is kept. `reference.Simulation` inherits these methods.
"""

from dataclasses import dataclass, field
from math import inf

import simpy

from models.engine import draws
from models.engine.plan import MESSAGE, NONE
from models.engine.policies import LOST, UNAVAILABLE


class Outages:
    """What goes down, and what that does to whoever is inside or calls."""

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
            self.take(number, outage, 1)
        else:
            part.down += 1
            part.falls += 1
            part.hangs += outage.hangs
        self.resize(number)
        if not outage.drains:
            for process, index in part.inside.items():
                if not outage.instances or index % outage.instances == outage.instance:
                    process.interrupt()

    def rise(self, number, outage):
        part = self.parts[number]
        if outage.instances:
            self.take(number, outage, -1)
        else:
            part.down -= 1
            part.hangs -= outage.hangs
        self.resize(number)
        waiting, part.waiting = part.waiting, []
        for event in waiting:  # whoever waits looks again
            event.succeed()

    def take(self, number, outage, times):
        """One instance leaves (1) or is back (-1): its workers, or the consumers that it is."""
        if number >= self.plan.first_group:
            group = self.groups[number - self.plan.first_group]
            for lane in range(outage.instance, group.plan.lanes, outage.instances):
                group.still[lane] += times
            return
        workers = self.plan.services[number].workers  # the first ones have one more if they must
        own = workers // outage.instances + (outage.instance < workers % outage.instances)
        self.parts[number].taken += times * own

    def resize(self, number):
        """Who can work: none while a service or a group of consumers is down."""
        part = self.parts[number]
        if number < len(self.workers) and self.workers[number] is not None:
            workers = self.plan.services[number].workers
            self.workers[number].resize(0 if part.down else max(workers - part.taken, 0))
        elif number >= self.plan.first_group:
            group = self.groups[number - self.plan.first_group]
            for lane, still in enumerate(group.still, group.plan.first_lane):
                self.lanes[lane].resize(0 if part.down or still else 1)

    def exposed(self, step, job):
        """A visit to a service that can fall. Whoever called hears of it at once or afterwards."""
        service = self.parts[step.service]
        try:
            return (yield from self.visit(step, job))
        except simpy.Interrupt:
            service.inside.pop(self.env.active_process, None)
            self.measures.lost(step, job)
            if step.mode != MESSAGE:
                yield from self.hang(service)
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
        yield from self.hang(part)
        return UNAVAILABLE

    def hang(self, part):
        """Hear nothing from what is down, as long as one of its outages gives no error."""
        while part.hangs and part.down:
            yield self.up_again(part)

    def until_up(self, part):
        while part.down:
            yield self.up_again(part)

    def up_again(self, part):
        part.waiting.append(self.env.event())
        return part.waiting[-1]


class Workers(simpy.Resource):
    """Workers whose number changes while they work; whoever works goes on to the end."""

    def resize(self, capacity):
        self._capacity = capacity
        while self.put_queue and self.count < capacity:
            self._trigger_put(None)


@dataclass
class Part:
    """What can go down: how often it has, what it has in hand, and who waits for it."""

    down: int = 0
    falls: int = 0
    taken: int = 0
    hangs: int = 0  # how many of the outages that it is down for give no error
    inside: dict = field(default_factory=dict)
    waiting: list = field(default_factory=list)
