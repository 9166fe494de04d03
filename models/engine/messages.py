"""Messages, a part of the reference: producers' buffers, the broker's log, its consumers.

`reference.Simulation` inherits these methods.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import count
from math import inf

import simpy

from models.engine import draws
from models.engine.plan import ACKS, MESSAGE, NONE, UNLIMITED, LogPlan
from models.engine.policies import FAILED, OK, UNAVAILABLE, VANISHED

HANDS_OVER = LogPlan()


class Messages:
    """How a message gets from its producer to its consumer.

    Order is kept where one connection or one log keeps it: from a producer's buffer to the broker,
    and from there to one consumer, its partition's or the one to which it is handed ahead. Messages
    that are sent each by itself, or wait in one queue for all consumers, may overtake each other.
    """

    def publish(self, step, job):
        """Hand a message to the broker: a round trip and its acknowledgement, then go on."""
        log = step.log or HANDS_OVER
        if log.outbox != NONE:
            heard = self.env.event()
            self.start(job.request, self.post(step, job.sent(), heard))
            yield heard
            return OK
        if log.acks == ACKS["none"]:
            self.start(job.request, self.toss(step, job.sent()))
            return OK
        half_ms = self.draw(step.network, step, job, draws.NETWORK) / 2
        for part in (step.link, step.broker):
            if self.is_down(part):
                return (yield from self.refused(step, job, self.parts[part]))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_THERE)
        if not (yield from self.is_stored(step, job)):
            return (yield from self.refused(step, job, self.parts[step.broker]))
        self.start(job.request, self.deliver(step, job.sent()))
        if self.is_down(step.link):
            return (yield from self.refused(step, job, self.parts[step.link]))
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_BACK)
        return OK

    def is_stored(self, step, job):
        """Whether the broker stores it: its own copy, and all others if it is to wait.

        It does not if it is down, or falls meanwhile.
        """
        log, falls = step.log or HANDS_OVER, self.falls(step.broker)
        if self.is_down(step.broker):
            return False
        yield from self.pause(self.draw(step.ack, step, job, draws.ACK))
        if log.acks == ACKS["all"]:
            yield from self.pause(self.draw(log.replication, step, job, draws.REPLICATION))
        return self.falls(step.broker) == falls

    def toss(self, step, job):
        """Send and forget: if the link or the broker is down, nobody will ever know."""
        half_ms = self.draw(step.network, step, job, draws.NETWORK) / 2
        if self.is_down(step.link):
            self.vanish(step, job)
            return
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_THERE)
        if (yield from self.is_stored(step, job)):
            yield from self.deliver(step, job)
        else:
            self.vanish(step, job)

    # The producer's buffer

    def post(self, step, job, heard):
        """A message in its producer's buffer, until the broker has acknowledged it."""
        outbox = self.outboxes[step.log.outbox]
        with outbox.places.request() as place:
            yield place  # while the buffer is full, the producer waits
            if not outbox.plan.waits:
                heard.succeed()
            acknowledged = self.env.event()
            outbox.batch.append((step, job, acknowledged))
            if len(outbox.batch) == outbox.plan.batch:
                self.dispatch(outbox)
            elif len(outbox.batch) == 1:
                self.env.process(self.linger(outbox, outbox.batch))
            yield acknowledged
        if outbox.plan.waits:
            heard.succeed()

    def linger(self, outbox, batch):
        """Send what there is when the first message has waited long enough."""
        yield self.env.timeout(outbox.plan.linger_ms)
        if outbox.batch is batch:
            self.dispatch(outbox)

    def dispatch(self, outbox):
        self.env.process(self.send(outbox.batch, outbox.way))
        outbox.batch = []

    def send(self, batch, way):
        """A batch is stored by the broker; then its messages part, and its acknowledgement goes back."""
        step, job, _ = batch[0]
        half_ms = yield from self.in_order(way, self.bring(step, job))
        for step, job, _ in batch:
            self.start(job.request, self.deliver(step, job))
        step, job, _ = batch[0]
        yield from self.until_all_up(step.link)
        yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_BACK)
        for _, _, acknowledged in batch:
            acknowledged.succeed()

    def bring(self, step, job):
        """Half a round trip to the broker, as soon as it can be reached, until it has stored it."""
        half_ms = self.draw(step.network, step, job, draws.NETWORK) / 2
        while True:
            yield from self.until_all_up(step.link, step.broker)
            yield from self.cross(half_ms, step.loss, step, job, draws.LOSS_THERE)
            if (yield from self.is_stored(step, job)):
                return half_ms

    # The log and its consumers

    def deliver(self, step, job):
        """From the broker to the consumer: wait for its lane and a worker, be processed."""
        if step.group != NONE:
            result = yield from self.in_lane(step, job, self.groups[step.group])
        elif (yield from self.arrive(step, job)) is None:
            result = VANISHED
        else:
            result = yield from self.process(step, job)
        if result not in (OK, VANISHED):
            self.give_up(job.request, FAILED)

    def arrive(self, step, job):
        """All the way to the consumer, its last half a round trip; None if it is lost before."""
        if (yield from self.is_logged(step, job)):
            return (yield from self.hand_over(step, job))
        return None

    def is_logged(self, step, job):
        """Whether the message is not lost before it can be read, here or from the mirror."""
        log = step.log or HANDS_OVER
        if log.acks != ACKS["all"]:  # it has been acknowledged, but there is one copy only
            falls = self.falls(step.broker)
            yield from self.pause(self.draw(log.replication, step, job, draws.REPLICATION))
            if self.falls(step.broker) != falls:
                self.vanish(step, job)
                return False
        job.message.logged_ms = self.env.now
        if log.mirror_network is not None:
            yield from self.mirror(step, job, log)
        return True

    def mirror(self, step, job, log):
        """Another broker, beside the consumer, gets a copy with a lag."""
        yield from self.until_all_up(step.broker, log.mirror_link)
        half_ms = self.draw(log.mirror_network, step, job, draws.MIRROR) / 2
        yield from self.cross(half_ms, log.mirror_loss, step, job, draws.LOSS_MIRROR)
        yield from self.pause(self.draw(log.lag, step, job, draws.LAG))

    def hand_over(self, step, job):
        """Half a round trip to the consumer, as soon as both ends can be reached."""
        mirrored = step.log is not None and step.log.mirror_network is not None
        yield from self.until_all_up(NONE if mirrored else step.broker, step.delivery_link)
        half_ms = self.draw(step.delivery, step, job, draws.DELIVERY) / 2
        yield from self.cross(half_ms, step.delivery_loss, step, job, draws.LOSS_DELIVERY)
        return half_ms

    def in_order(self, way, travel):
        """Travel on a way on which nobody overtakes: at its end, wait for whoever set out before."""
        before, way.last = way.last, self.env.event()
        arrived = way.last
        result = yield from travel
        if before is not None and not before.triggered:
            yield before
        arrived.succeed()
        return result

    def in_lane(self, step, job, group):
        """One consumer has the message: that of its partition, or the next one that has room."""
        if group.plan.prefetch:
            if not (yield from self.is_logged(step, job)):
                return VANISHED
            asked_ms = self.env.now
            room = group.room.request()
            yield room
            self.measures.waited(step, job, asked_ms)
            lane = group.next_with_room()
            travel = self.hand_over(step, job)
        else:
            lane = self.partition(step, job) % group.plan.lanes
            travel = self.arrive(step, job)
        half_ms = yield from self.in_order(group.ways[lane], travel)
        if half_ms is None:
            return VANISHED
        asked_ms = self.env.now
        with self.lanes[group.plan.first_lane + lane].request() as turn:
            yield turn
            self.measures.waited(step, job, asked_ms)
            result = yield from self.process(step, job)
        if group.plan.prefetch:
            self.env.process(self.acknowledge(group, room, lane, half_ms))
        return result

    def partition(self, step, job):
        """The partition of a message's key."""
        chance = self.uniform(step, job, draws.PARTITION)
        if step.log is None or not step.log.shares:
            return int(step.partitions * chance)
        return bisect_right(step.log.shares, chance)

    def acknowledge(self, group, room, lane, half_ms):
        """The consumer's acknowledgement makes room for one more, when it is back at the broker."""
        yield from self.pause(half_ms)
        group.in_hand[lane] -= 1
        group.room.release(room)

    def process(self, step, job):
        """The consumer's step, again and again until it does not break off, or once too often."""
        log = step.log or HANDS_OVER
        for delivery in count():
            result = yield from self.step(step, job.again(delivery))
            if result in (OK, FAILED, VANISHED):
                return result
            if delivery + 1 == log.deliveries:
                self.measures.dead(step, job)
                return UNAVAILABLE
            self.measures.redelivered(step, job)
            yield from self.pause(log.redelivery_ms)

    def is_recognised(self, step, job):
        """Whether a message comes again whose work is committed, to a consumer that knows it."""
        if step.mode != MESSAGE or step.log is None:
            return False
        return step.log.idempotent and job.message.committed

    def remember(self, step, job):
        """The work of a message is committed, perhaps not for the first time."""
        if step.mode == MESSAGE:
            if job.message.committed:
                self.measures.duplicate(step, job)
            job.message.committed = True

    def has_expired(self, step, job):
        """Whether the broker has thrown the message away before its turn came."""
        return step.log is not None and (
            self.env.now - job.message.logged_ms > step.log.retention_ms
        )

    def vanish(self, step, job):
        """Nobody will process this message: its saga never ends, unless it has failed."""
        self.measures.vanished(step, job)
        if job.request.outcome == OK:
            job.request.vanish()
        return VANISHED

    def falls(self, number):
        return self.parts[number].falls if number != NONE else 0

    def until_all_up(self, *numbers):
        parts = [self.parts[number] for number in numbers if number != NONE]
        while down := [part for part in parts if part.down]:
            yield self.up_again(down[0])


@dataclass
class Message:
    """What the log knows of a message: since when it is there, and whether its work is committed."""

    logged_ms: float = 0.0
    committed: bool = False


class Way:
    """A way on which nobody overtakes."""

    last: simpy.Event | None = None  # the arrival of whoever set out last


class Outbox:
    """A producer's buffer towards a broker, the batch that is being collected, the way there."""

    def __init__(self, env, plan):
        self.plan = plan
        self.places = simpy.Resource(env, inf if plan.places == UNLIMITED else plan.places)
        self.batch = []
        self.way = Way()


class Group:
    """The consumers of one broker in one service, and the way to each."""

    def __init__(self, env, plan):
        self.plan = plan
        self.room = simpy.Resource(env, plan.lanes * plan.prefetch or 1)
        self.in_hand = [0] * plan.lanes
        self.still = [0] * plan.lanes  # how many rebalances each of them waits for
        self.ways = [Way() for _ in range(plan.lanes)]
        self.turn = 0

    def next_with_room(self):
        """The next consumer in turn that may have one more message in hand; it is given one."""
        while True:
            lane = self.turn % self.plan.lanes
            self.turn += 1
            if self.in_hand[lane] < self.plan.prefetch:
                self.in_hand[lane] += 1
                return lane
