"""The broker's part of a system: its log, its consumers' groups, and its producers' buffers.

What it does is in `models.engine.messages`.
"""

import math
from itertools import accumulate, pairwise
from typing import Annotated, Literal

from pydantic import model_validator

from models.checks import (
    Flag,
    Ms,
    Name,
    Part,
    a_count,
    a_mapping,
    a_number,
    an_option,
    fault,
    or_nothing,
)
from models.distributions import NO_TIME, Distribution
from models.engine.draws import stream


class Producers(Part):
    """The buffer of each producing service: messages that the broker has not acknowledged yet."""

    buffer: Annotated[int | None, or_nothing(a_count("1 or more messages, or null", 1))] = None
    """How many messages it holds; a producer that finds it full waits; null: any number."""
    batch: Annotated[int, a_count("1 to 10,000 messages", 1, 10_000)] = 1
    """How many messages are sent together at most."""
    linger_ms: Ms = 0.0
    """How long the first message of a batch waits for more, in ms."""
    waits: Flag = False
    """Whether the producer waits until its message has been acknowledged, not only buffered."""


class Keys(Part):
    """Keys of messages, and how unevenly they are used."""

    count: Annotated[int, a_count("1 to 1,000,000 keys", 1, 10**6)] = 1000
    """How many different keys there are; a checksum puts each into a partition."""
    skew: Annotated[float, a_number("a number from 0 to 10", high=10.0)] = 0.0
    """Exponent of Zipf's law: the k-th key is used in proportion to k to the power of -skew."""


class Mirror(Part):
    """A copy of a broker on another infrastructure, which the consumers there read from."""

    lag: Distribution = NO_TIME
    """The time that a copy takes besides half a round trip."""


class Broker(Part):
    """A message broker."""

    infrastructure: Name
    """The name of the infrastructure that it runs on."""
    ack: Distribution = NO_TIME
    """The broker's own time until it acknowledges a message."""
    acks: Annotated[Literal["none", "leader", "all"], an_option("none", "leader", "all")] = "all"
    """What a producer waits for: nothing, the broker's own copy, or all copies."""
    replication: Distribution = NO_TIME
    """The time until all copies are made, and the message can be read."""
    partitions: Annotated[
        int | None, or_nothing(a_count("1 to 1,000,000 partitions, or null", 1, 10**6))
    ] = None
    """Partitions, each processed in order; null: one queue for all consumers, which keeps no order."""
    keys: Keys | None = None
    """The keys that decide on the partition; null: all partitions get the same share."""
    rebalance_ms: Ms = 0.0
    """How long consumers of a service stand still when one leaves or joins in a restart, in ms."""
    rebalance: Annotated[Literal["eager", "cooperative"], an_option("eager", "cooperative")] = (
        "eager"
    )
    """Who stands still then: all of them, or only the one whose partitions move."""
    prefetch: Annotated[int | None, or_nothing(a_count("1 or more messages, or null", 1))] = None
    """Messages that each consumer may have in hand and under way; null: it takes one when free."""
    retention_ms: Annotated[
        float | None, or_nothing(a_number("a time in ms, above 0, or null", above=True))
    ] = None
    """How long a message is kept, in ms; one whose turn has not come by then is lost; null: for ever."""
    max_deliveries: Annotated[int, a_count("1 or more deliveries", 1)] = 20
    """How often a message is delivered whose processing breaks off; then it is set aside."""
    redelivery_ms: Ms = 0.0
    """How long it waits before it is delivered again, in ms."""
    mirrors: Annotated[dict[Name, Mirror], a_mapping("infrastructure", empty=True)] = {}
    """Copies of the broker, by the infrastructure that they run on."""
    producers: Producers | None = None
    """The buffers of its producers; null: each message is sent by itself and waited for."""

    @model_validator(mode="after")
    def _fits_together(self):
        if self.partitions and self.prefetch:
            fault(f"{self.prefetch} was found beside partitions; expected one of them; a partition "
                  "is read by one consumer; leave one out", "prefetch")  # fmt: skip
        for name in ("keys", "rebalance_ms", "rebalance"):
            unset = type(self).model_fields[name].default
            if getattr(self, name) != unset and not self.partitions:
                fault("was found without partitions; expected it with them; add partitions", name)
        if self.acks == "none" and self.producers is not None:
            fault("was found beside acks: none; expected acks: leader or all, since the buffer "
                  "holds what has not been acknowledged", "producers")  # fmt: skip
        if self.infrastructure in self.mirrors:
            fault(f"this is where the broker itself runs; expected another than "
                  f"'{self.infrastructure}'", "mirrors", self.infrastructure)  # fmt: skip
        return self

    def partition_shares(self) -> tuple[float, ...]:
        """Cumulative shares of the messages in each partition; empty where all are equal."""
        if self.keys is None or not self.partitions:
            return ()
        weights = [0.0] * self.partitions
        for number in range(1, self.keys.count + 1):
            weights[stream(f"key {number}") % self.partitions] += number**-self.keys.skew
        sums = list(accumulate(weights))
        return tuple(part / sums[-1] for part in sums)

    def consumer_shares(self, consumers: float) -> list[float]:
        """The share of the messages that each of so many consumers gets: partition modulo consumers."""
        partitions = self.partitions or 1
        lanes = int(min(partitions, consumers))
        ends = self.partition_shares() or [(i + 1) / partitions for i in range(partitions)]
        shares = [high - low for low, high in pairwise((0.0, *ends))]
        return [math.fsum(shares[lane::lanes]) for lane in range(lanes)]
