"""Loops written for exactly one system each: what the compiled engine is measured against.

Each does as little as it can: no other system, no failure, no quantile, nothing but the mean
response. `draw` says where random numbers come from, and `source` is its state: `keyed` takes a
seed and gives the engine's own draws, so that every request has the engine's times; `from_numpy`
takes a numpy generator. `streams` are those of the arrivals and of each step. The times of each
request are stored where `arrived_ms` and `completed_ms` have room for them.
"""

import numpy as np
from numba import njit
from systems import CHAIN_RTT_MS, CHAIN_WORKERS, GAP_MS, STATIONS, WORK_MS, WORKERS

import models.engine.compiled  # noqa: F401  (makes the draws known to numba)
from models.engine import draws

PLACES = 1 << 14  # room in a queue, a power of two
NEVER = np.inf


@njit
def keyed(seed, stream, request, purpose, mean_ms):
    """An exponential number that belongs to whoever draws it, as the engine draws it."""
    return -mean_ms * draws.log(draws.uniforms(seed, stream, request, 0, purpose, 0)[0])


@njit
def from_numpy(generator, stream, request, purpose, mean_ms):
    """An exponential number from numpy's generator (PCG64 and its ziggurat)."""
    return mean_ms * generator.standard_exponential()


@njit
def soonest(clocks):
    """Number and time of the clock that rings first."""
    first, now = 0, clocks[0]
    for i in range(1, len(clocks)):
        if clocks[i] < now:
            first, now = i, clocks[i]
    return first, now


@njit
def put(queue, ends, item):
    """Stand at the end of a queue; `ends` are the numbers of its first and of its next place."""
    if ends[1] - ends[0] == PLACES:
        raise MemoryError("the queue is full")
    queue[ends[1] & (PLACES - 1)] = item
    ends[1] += 1


@njit
def take(queue, ends):
    """The first of a queue, which must not be empty."""
    ends[0] += 1
    return queue[(ends[0] - 1) & (PLACES - 1)]


def tandem_loop(draw):
    """Three M/M/2 stations in a row, event by event: the next arrival and six servers."""

    @njit
    def loop(source, streams, requests, arrived_ms, completed_ms):
        servers = STATIONS * WORKERS
        clocks = np.full(servers + 1, NEVER)  # the last one is that of the arrivals
        holds = np.zeros(servers, np.int64)
        queues = np.zeros((STATIONS, PLACES), np.int64)
        ends = np.zeros((STATIONS, 2), np.int64)
        began = np.zeros(PLACES)  # when each request that is here arrived
        arrived = completed = 0
        total = 0.0
        clocks[servers] = draw(source, streams[0], 0, draws.ARRIVAL, GAP_MS)
        while completed < requests:
            clock, now = soonest(clocks)
            if clock == servers:
                request = arrived
                station = 0
                began[request & (PLACES - 1)] = now
                if len(arrived_ms):
                    arrived_ms[request] = now
                arrived += 1
                clocks[clock] = NEVER
                if arrived < requests:
                    clocks[clock] = now + draw(source, streams[0], arrived, draws.ARRIVAL, GAP_MS)
            else:
                request = holds[clock]
                station = clock // WORKERS
                clocks[clock] = NEVER
                if ends[station, 0] < ends[station, 1]:
                    holds[clock] = take(queues[station], ends[station])
                    clocks[clock] = now + draw(
                        source, streams[1 + station], holds[clock], draws.WORK, WORK_MS
                    )
                station += 1
            if station == STATIONS:
                completed += 1
                total += now - began[request & (PLACES - 1)]
                if len(completed_ms):
                    completed_ms[request] = now
                continue
            put(queues[station], ends[station], request)
            for server in range(WORKERS * station, WORKERS * (station + 1)):
                if clocks[server] == NEVER:
                    holds[server] = take(queues[station], ends[station])
                    clocks[server] = now + draw(
                        source, streams[1 + station], holds[server], draws.WORK, WORK_MS
                    )
                    break
        return total / requests

    return loop


def tandem_recursion(draw):
    """The same stations without events, by the recursion of J. Kiefer and J. Wolfowitz, "On the
    theory of queues with many servers", Trans. Amer. Math. Soc. 78 (1955) 1-18.

    A request takes the server that is free first, and with that the one before it on this server
    leaves for the next station. They leave in order of time, so one pass is enough. There is such
    a recursion only where nothing ever flows back.
    """

    @njit
    def loop(source, streams, requests, arrived_ms, completed_ms):
        free = np.zeros((STATIONS, WORKERS))
        holds = np.full((STATIONS, WORKERS), -1)
        began = np.zeros((STATIONS, WORKERS))
        now = total = 0.0
        for request in range(requests + STATIONS * WORKERS):  # the last ones push the others out
            real = request < requests
            if real:
                now += draw(source, streams[0], request, draws.ARRIVAL, GAP_MS)
                if len(arrived_ms):
                    arrived_ms[request] = now
            at, start = (now, now) if real else (NEVER, NEVER)
            for station in range(STATIONS):
                first, leaves = soonest(free[station])
                left = holds[station, first], leaves, began[station, first]
                holds[station, first], began[station, first] = request, start
                free[station, first] = max(at, leaves)
                if at < NEVER:
                    free[station, first] += draw(
                        source, streams[1 + station], request, draws.WORK, WORK_MS
                    )
                request, at, start = left
                if request < 0:
                    break
            if 0 <= request < requests:
                total += at - start
                if len(completed_ms):
                    completed_ms[request] = at
        return total / requests

    return loop


def chain_loop(draw):
    """Three services, each calling the next and holding a worker until the answer is back.

    Whoever has a worker of the first service has one clock, which rings when it arrives at the
    second or the third service, is done there, or has an answer. Queues hold these workers.
    """
    AT_SECOND, AT_THIRD, THIRD_DONE, SECOND_DONE, DONE = range(5)

    @njit
    def loop(source, streams, requests, arrived_ms, completed_ms):
        half_ms = CHAIN_RTT_MS / 2
        first, second_free, third_free = CHAIN_WORKERS
        clocks = np.full(first + 1, NEVER)  # the last one is that of the arrivals
        next_is = np.zeros(first, np.int64)
        holds = np.zeros(first, np.int64)
        free, idle = np.arange(first), first  # a stack of idle workers of the first service
        waiting, waiting_ends = np.zeros(PLACES, np.int64), np.zeros(2, np.int64)
        for_second, second_ends = np.zeros(PLACES, np.int64), np.zeros(2, np.int64)
        for_third, third_ends = np.zeros(PLACES, np.int64), np.zeros(2, np.int64)
        began = np.zeros(PLACES)
        arrived = completed = 0
        total = 0.0
        clocks[first] = draw(source, streams[0], 0, draws.ARRIVAL, GAP_MS)
        while completed < requests:
            who, now = soonest(clocks)
            clocks[who] = NEVER
            if who == first:
                began[arrived & (PLACES - 1)] = now
                if len(arrived_ms):
                    arrived_ms[arrived] = now
                put(waiting, waiting_ends, arrived)
                arrived += 1
                if arrived < requests:
                    gap_ms = draw(source, streams[0], arrived, draws.ARRIVAL, GAP_MS)
                    clocks[who] = now + gap_ms
            elif next_is[who] == AT_SECOND:
                put(for_second, second_ends, who)
            elif next_is[who] == AT_THIRD:
                put(for_third, third_ends, who)
            elif next_is[who] == THIRD_DONE:
                third_free += 1
                clocks[who], next_is[who] = now + half_ms, SECOND_DONE
            elif next_is[who] == SECOND_DONE:
                second_free += 1
                clocks[who], next_is[who] = now + half_ms, DONE
            else:
                request = holds[who]
                free[idle] = who
                idle += 1
                completed += 1
                total += now - began[request & (PLACES - 1)]
                if len(completed_ms):
                    completed_ms[request] = now
            if waiting_ends[0] < waiting_ends[1] and idle > 0:
                idle -= 1
                who = free[idle]
                holds[who] = take(waiting, waiting_ends)
                work_ms = draw(source, streams[1], holds[who], draws.WORK, WORK_MS)
                clocks[who], next_is[who] = now + work_ms + half_ms, AT_SECOND
            if second_ends[0] < second_ends[1] and second_free > 0:
                second_free -= 1
                who = take(for_second, second_ends)
                work_ms = draw(source, streams[2], holds[who], draws.WORK, WORK_MS)
                clocks[who], next_is[who] = now + work_ms + half_ms, AT_THIRD
            if third_ends[0] < third_ends[1] and third_free > 0:
                third_free -= 1
                who = take(for_third, third_ends)
                work_ms = draw(source, streams[3], holds[who], draws.WORK, WORK_MS)
                clocks[who], next_is[who] = now + work_ms, THIRD_DONE
        return total / requests

    return loop
