"""The same model as `reference.py` in one kernel compiled by numba, written to be fast.

The kernel is a list of states. Every process of the reference is a *frame*, a row of two tables;
where the reference yields, the frame stores the state to go on with and leaves. States carry the
names of the reference's methods and stand in their order, so the two can be laid side by side.

Events happen in SimPy's order: first processes that have just been started (`urgent`), then what
is due at this instant in the order in which it was scheduled (`heap`, then `soon`, which holds
what was scheduled for this very instant), then time moves on.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.extending import overload, register_jitable

from models.engine import draws, policies
from models.engine.measures import MOST_SEEN, Crowded, TooFine
from models.engine.messages import HANDS_OVER
from models.engine.plan import (
    ACKS,
    DRAWN,
    LOCAL,
    MESSAGE,
    NO_LIMIT,
    NONE,
    NOTHING,
    PROFILE,
    TIMESTAMPS,
    UNLIMITED,
    Draw,
    LogPlan,
    Plan,
    PolicyPlan,
    TollPlan,
)
from models.engine.plan import CALL as CALLED
from models.engine.policies import (
    BROKEN,
    FAILED,
    LOST,
    OK,
    REJECTED,
    TIMED_OUT,
    UNAVAILABLE,
    UNFINISHED,
    VANISHED,
)

HERE = Path(__file__).parent
NO_POLICY, NO_TOLL = PolicyPlan(), TollPlan()
CHANCE = Draw(draws.UNIFORM, 0.0, 1.0)
NO_ACKS, ALL_ACKS = ACKS["none"], ACKS["all"]
DELIVERIES = HANDS_OVER.deliveries


# Division as IEEE 754 has it; and since no array is made here, nobody counts who uses one.
QUICK: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
part_of_kernel = numba.njit(**QUICK)


def _cache_folder():
    """A place for the machine code that depends on everything that is compiled into it.

    numba looks only at the file of the function itself, so a change in `draws.py` would go unseen.
    """
    sources = b"".join(
        (HERE / name).read_bytes() for name in ("draws.py", "plan.py", "policies.py", "compiled.py")
    )
    return str(HERE / "__pycache__" / f"kernel-{hashlib.sha256(sources).hexdigest()[:16]}")


def compiled(function):
    """Compile a function, keeping the machine code for the next process."""
    previous = numba.config.CACHE_DIR
    if os.access(HERE, os.W_OK):
        numba.config.CACHE_DIR = _cache_folder()
    try:
        return numba.njit(cache=True, nogil=True, **QUICK)(function)
    finally:
        numba.config.CACHE_DIR = previous


for name in ("philox", "uniforms", "log"):
    register_jitable(forceinline=True, **QUICK)(getattr(draws, name))  # to fill vector registers
for name in ("exp", "normal_quantile", "value_of", "sample", "profile_gap", "retransmission_ms"):
    register_jitable(**QUICK)(getattr(draws, name))
register_jitable(**QUICK)(draws.again)
for name in ("passed_on", "lets_through", "answered", "hangs_up", "earns", "tries_again",
             "pause_ms"):  # fmt: skip
    register_jitable(**QUICK)(getattr(policies, name))


@overload(draws.mantissa_and_exponent)
def _(x):
    def from_bits(x):
        bits = np.float64(x).view(np.int64)
        mantissa = np.int64((bits & 0x000FFFFFFFFFFFFF) | (1022 << 52)).view(np.float64)
        return mantissa, (bits >> 52) - 1022

    return from_bits


@overload(draws.times_power_of_two)
def _(x, n):
    def from_bits(x, n):
        return x * np.int64((np.int64(n) + 1023) << 52).view(np.float64)

    return from_bits


# States, in the order of the reference's methods.
ARRIVE, STEP, VISITED, VISIT_ENDED, REFUSED, GRANTED, SERVE, WORKED, CHILDREN = range(9)
CALLING, JOINED, SERVED, STEP_DONE = range(9, 13)
ASK, CUT_OFF, UNREACHED, PUBLISHED, ACKNOWLEDGED, ANSWERED, BRANCH_ENDED = range(13, 20)
DELIVER, HAND_OVER, DELIVERED, HELD, LANE_GRANTED, OUTAGE, FALL, RISE, KILLED, HUNG = range(20, 30)
GONE, GONE_TRYING = range(30, 32)
CALL, TRY, TRIED, AGAIN, ATTEMPT_ENDED, TIME_UP, EXPIRED = range(32, 39)
UNDO, UNDO_AT_BROKER, UNDO_SENT, UNDO_ARRIVED, UNDO_GRANTED, UNDO_WORKED, ENDED = range(39, 46)
# States that only the special ways of a message need.
HEARD, COPIED, TOSS, TOSSED, POST, PLACED, LINGER, LINGERED, SEND, SENT, SENT_COPIED = range(46, 57)
TOSS_STORED, BROUGHT, BROUGHT_HELD, SEND_BACK, SENT_BACK, CONFIRMED = range(57, 63)
STORED, LOGGED, MIRROR, MIRRORED, IN_LOG, ROOMY, GIVE_BACK, GIVEN_BACK = range(63, 71)

# Whom a frame answers to.
ANSWER, MESSAGE_STEP, UNDOING, FIRST_TIME, POSTED, SEQUENCE, BRANCH, ATTEMPT, VISIT = range(9)

# The rows of the kernel's tables. Small numbers without a sign, so that no index can be negative.
u4, i8, f8 = np.uint32, np.int64, np.float64
NOBODY = u4(0xFFFFFFFF)  # no such frame, no such lane


def _row(whole, wide, real):
    """A row of 32-bit numbers, 64-bit numbers and floats, by their names."""
    kinds = [(name, u4) for name in whole.split()] + [(name, i8) for name in wide.split()]
    return np.dtype(kinds + [(name, f8) for name in real.split()], align=True)


# A frame is also the scope of an attempt: what was committed in it, and whether it was given up.
# What every frame needs fills the first of its two cache lines. A message's parent is its lane.
FRAME = np.dtype(
    [(name, u4) for name in "state step request role parent next child result attempt scope".split()]
    + [(name, f8) for name in ("started", "asked", "half", "deadline", "paused")]
    + [(name, u4) for name in "pending tries trial timer done lapsed given_up".split()]
    + [(name, u4) for name in ("first_commit", "last_commit", "needed", "inner", "behind")],
    align=True,
)  # fmt: skip
REQUEST = _row("flow reply outcome attempts undone open first_commit last_commit",
               "index position", "arrived replied")  # fmt: skip
# `plain`: nothing but its own business can go wrong, and nothing costs more than the business.
STEP_ROW = _row("service mode parallel children first_child group log undoes policy apart broker "
                "link delivery_link toll plain fails", "", "")  # fmt: skip
GROUP = _row("first_lane lanes partitions prefetch room turn", "", "")  # `room` is a resource
# Who is on a way on which nobody overtakes; how many rebalances the consumer at its end waits for.
WAY = _row("first last still", "", "")
LOG = _row("acks mirrored mirror_link deliveries idempotent shares first_share outbox", "",
           "retention_ms redelivery_ms")  # fmt: skip
OUTBOX = _row(
    "places batch waits head tail length opened", "", "linger_ms"
)  # `places` is a resource
TOLL = _row("", "", "hop_ms round_trips handshake_ms work_ms span_ms")
POLICY = _row("passes", "attempts retry_on backoff window minimum trials bulkhead ring",
              "base_ms cap_ms factor budget earns earns_per_ms retries retry_share throttle throttle_ms "
              "share open_ms"
              )  # fmt: skip
EVENT = _row("", "time key", "")  # the bits of its time; its number and its frame
EDGE = _row("", "in_flight retries state turn begun succeeded seen failures",
            "tokens earned_ms requests accepts faded_ms opened_ms")  # fmt: skip
DRAW = _row("", "kind stream purpose ahead", "p0 p1 p2 share")  # how often it says yes, or is lost
RESOURCE = _row(
    "unlimited capacity users head tail length calls limit sheds sheds_late",
    "",
    "patient_ms strict_ms empty_ms",
)  # workers, a lane, the room of a group or the places of an outbox
# A part that can go down, with the queue of who waits until it is up, and what a frame is to a
# visit: an own table, used with outages only.
PART = _row("workers down falls taken hangs first_inside last_inside head tail length", "", "")
OUTAGE_ROW = _row("first_window windows first_part parts drawn hangs instances instance drains",
                  "table", "")  # fmt: skip
EXPOSURE = _row("before after inside", "", "")
SERVICE_RECORD = _row("", "max_queue handled rejected", "held_ms working_ms wait_ms")
STEP_RECORD = _row(
    "",
    "handled failed rejected undone tried timed_out broken lost redelivered duplicates dead vanished",
    "wait_ms held_ms",
)

# What is drawn for a step: its row of the table of draws is DRAWS times the step plus one of these.
DRAWN_FOR = (draws.WORK, draws.NETWORK, draws.ACK, draws.DELIVERY,
             draws.REPLICATION, draws.MIRROR, draws.LAG,
             draws.UNDO_WORK, draws.UNDO_NETWORK, draws.UNDO_ACK, draws.UNDO_DELIVERY,
             draws.TIME_LIMIT, draws.BACKOFF,
             # and what is drawn between 0 and 1, to decide on something
             draws.BACKOFF, draws.PARTITION, draws.THROTTLE, draws.FAILS, draws.ERRORS,
             draws.LOSS_THERE, draws.LOSS_BACK, draws.LOSS_DELIVERY, draws.LOSS_MIRROR,
             draws.HANDSHAKE, draws.SAMPLED)  # fmt: skip
(D_WORK, D_NETWORK, D_ACK, D_DELIVERY, D_REPLICATION, D_MIRROR, D_LAG,
 D_UNDO_WORK, D_UNDO_NETWORK, D_UNDO_ACK, D_UNDO_DELIVERY, D_LIMIT, D_PAUSE,
 D_JITTER, D_PARTITION, D_THROTTLE, D_FAILS, D_ERRORS,
 D_LOSS_THERE, D_LOSS_BACK, D_LOSS_DELIVERY, D_LOSS_MIRROR, D_HANDSHAKE, D_SAMPLED) = range(24)  # fmt: skip
DRAWS = len(DRAWN_FOR)
AHEAD_BITS = 7
AHEAD = 1 << AHEAD_BITS  # numbers that are drawn at once

# Columns of the streamed summary, per batch and flow.
(A_COUNT, A_ANSWERED, A_RESPONSE, A_DONE, A_COMPLETION, A_ADMITTED, A_GAP, A_FAILED, A_REJECTED,
 A_UNDONE, A_THROUGHPUT) = range(11)  # fmt: skip

FRAME_BITS = 26  # a heap key is the number of the event, then the number of the frame
MAX_FRAMES = 1 << FRAME_BITS
RELEASE = 1 << 31  # added to a service or lane that gives a place back
KILL = 1 << 30  # added to a frame whose service has fallen
BINS_PER_OCTAVE = 128
LOWEST = (1023 - 10) * BINS_PER_OCTAVE  # bins start at 2^-10 ms
BINS = 44 * BINS_PER_OCTAVE

# What the kernel remembers between two calls.
G_URGENT_HEAD, G_URGENT_TAIL, G_SOON_HEAD, G_SOON_TAIL, G_HEAP, G_LIMITS, G_EXPIRED = range(7)
(G_FRAMES, G_REQUESTS, G_EVENTS, G_ARRIVED, G_DONE, G_BATCH, G_BATCH_NEXT, G_ARRIVING,
 G_SERIES) = range(7, 16)  # fmt: skip

FINISHED, FULL, PAUSED, SERIES_FULL, CROWDED = range(5)
SWEEP_FROM = 32  # time limits for which nobody waits any more
PAUSE_AFTER = 5_000_000  # events, about a second: time to show progress or to be interrupted


@part_of_kernel
def before(event, time, key):
    """Whether an event comes before another's time and key, worked out without a branch."""
    return (event.time < time) | ((event.time == time) & (event.key < key))


@part_of_kernel
def bits_of(ms):
    """A time as a whole number: those of times that are not negative have the times' order."""
    return np.float64(ms).view(np.int64)


@part_of_kernel
def ms_of(bits):
    """The time again."""
    return np.int64(bits).view(np.float64)


@part_of_kernel
def lift(heap, i, time, key):
    """Put an event into the heap at the free place `i`, or as far above as it belongs."""
    while i > 0:
        parent = u4((i - 1) >> 1)
        if before(heap[parent], time, key):
            break
        heap[u4(i)].time = heap[parent].time
        heap[u4(i)].key = heap[parent].key
        i = parent
    heap[u4(i)].time = time
    heap[u4(i)].key = key


@part_of_kernel
def heap_push(heap, size, ms, key):
    """Put an event into the heap of `size` events, ordered by time, then by number."""
    lift(heap, size, bits_of(ms), key)


@part_of_kernel
def heap_pop(heap, size):
    """Take the first event out; afterwards `size` - 1 are left.

    The free place sinks to the bottom; the last event goes there, and seldom far up again
    (I. Wegener, "Bottom-up heapsort", Theoretical Computer Science 118, 1993).
    """
    last = size - 1
    i = 0
    child = 1
    while child < last:
        left = u4(child)
        right = u4(child + 1)  # or `last` itself, which then is the one that is moved
        child += before(heap[right], heap[left].time, heap[left].key)
        heap[u4(i)].time = heap[u4(child)].time
        heap[u4(i)].key = heap[u4(child)].key
        i = child
        child = 2 * i + 1
    lift(heap, i, heap[u4(last)].time, heap[u4(last)].key)


@part_of_kernel
def announce(limits, frames, heap, size):
    """See to it that the first time limit is in the heap of all events too; that heap's size."""
    first = u4(limits[0].key & (MAX_FRAMES - 1))
    if frames[first].pending == 0:
        frames[first].pending = 1
        lift(heap, size, limits[0].time, limits[0].key)
        size += 1
    return size


@part_of_kernel
def sweep(limits, size, frames, free_frames, frames_free):
    """Forget the time limits for which nobody waits any more; what is left of both.

    Except those that are in the heap of all events: they go when it is their time.
    """
    kept = 0
    for i in range(size):
        frame = u4(limits[i].key & (MAX_FRAMES - 1))
        if frames[frame].state == EXPIRED and frames[frame].pending == 0:
            free_frames[u4(frames_free)] = frame
            frames_free += 1
        else:
            lift(limits, kept, limits[i].time, limits[i].key)
            kept += 1
    return kept, frames_free


@part_of_kernel
def draw_ahead(kind, p0, p1, p2, values, seed, stream, purpose, first, ahead, place):
    """Draw for a whole block of requests, beginning with the one with index `first`."""
    if kind == draws.ERLANG or kind == draws.HYPEREXPONENTIAL:  # which need more than one uniform
        for i in range(AHEAD):
            ahead[place, i] = draws.sample(
                kind, p0, p1, p2, values, seed, stream, first + i, 0, purpose
            )
        return
    for i in range(AHEAD):
        ahead[place, i] = draws.uniforms(seed, stream, first + i, 0, purpose, 0)[0]
    if kind == draws.EXPONENTIAL:
        for i in range(AHEAD):
            ahead[place, i] = -p0 * draws.log(ahead[place, i])
    elif kind == draws.UNIFORM:
        for i in range(AHEAD):
            ahead[place, i] = p0 + p1 * ahead[place, i]
    else:
        for i in range(AHEAD):
            ahead[place, i] = draws.value_of(kind, p0, p1, p2, values, ahead[place, i], 0.0)


@numba.njit(forceinline=False, **QUICK)  # said, for it would be taken from who calls it
def draw_anew(d, values, seed, index, attempt, ahead, blocks):
    """A number that is not there yet: drawn alone, or with those of the block that it begins."""
    block = index >> AHEAD_BITS
    if d.ahead > 0 and attempt == 0 and block > blocks[d.ahead]:
        draw_ahead(d.kind, d.p0, d.p1, d.p2, values, seed, d.stream, d.purpose,
                   block << AHEAD_BITS, ahead, d.ahead)  # fmt: skip
        blocks[d.ahead] = block
        return ahead[d.ahead, index & (AHEAD - 1)]
    return draws.sample(d.kind, d.p0, d.p1, d.p2, values, seed, d.stream, index, attempt, d.purpose)


@numba.njit(forceinline=True, **QUICK)
def draw(d, values, seed, index, attempt, ahead, blocks):
    """A number from row `d` of the table of draws; most first attempts find theirs drawn ahead."""
    if d.kind == draws.DETERMINISTIC:
        return d.p0
    place = u4(d.ahead)  # 0, where nothing is, for what is drawn alone
    if index >> AHEAD_BITS == blocks[place] and attempt == 0:
        return ahead[place, index & (AHEAD - 1)]
    return draw_anew(d, values, seed, index, attempt, ahead, blocks)


@part_of_kernel
def happens(d, values, seed, index, attempt, ahead, blocks):
    """Whether what row `d` of the table of draws decides on happens this time."""
    return d.share > 0.0 and draw(d, values, seed, index, attempt, ahead, blocks) < d.share


@part_of_kernel
def grant(resources, resource, frames):
    """Give a free place to the head of the queue; the frame that has it now, or NOBODY."""
    if resources[resource].head == NOBODY or (
        resources[resource].users >= resources[resource].capacity
    ):
        return NOBODY
    frame = resources[resource].head
    resources[resource].head = frames[frame].next
    resources[resource].length -= 1
    resources[resource].users += 1
    frames[frame].next = frame  # so that whoever looks sees that it waits no more
    return frame


@part_of_kernel
def is_last(now, urgent_head, urgent_tail, soon_head, soon_tail, heap, heap_size):
    """Whether nothing else happens at this instant."""
    return (
        urgent_head == urgent_tail
        and soon_head == soon_tail
        and (heap_size == 0 or heap[0].time > bits_of(now))
    )


@part_of_kernel
def line_up(queues, queue, frames, frame):
    """Stand at the end of a queue: for a resource, for a part that is down, or in an outbox."""
    frames[frame].next = NOBODY
    if queues[queue].head == NOBODY:
        queues[queue].head = frame
    else:
        frames[queues[queue].tail].next = frame
    queues[queue].tail = frame
    queues[queue].length += 1


@part_of_kernel
def ask_for(resources, resource, frames, frame, soon, soon_tail, mask):
    """Line up for a place; whose turn it is then goes on `soon`, whose new end is returned."""
    line_up(resources, resource, frames, frame)
    first = grant(resources, resource, frames)
    if first != NOBODY:
        soon[soon_tail & mask] = first
        soon_tail += 1
    return soon_tail


@part_of_kernel
def leave_queue(resources, resource, frames, frame):
    """Take a frame out of the middle of a queue."""
    previous = NOBODY
    other = resources[resource].head
    while other != frame:
        previous = other
        other = frames[other].next
    if previous == NOBODY:
        resources[resource].head = frames[frame].next
    else:
        frames[previous].next = frames[frame].next
    if resources[resource].tail == frame:
        resources[resource].tail = previous
    resources[resource].length -= 1


@part_of_kernel
def enter(parts, part, exposed, frame):
    """A visit is in its service's hands from now on."""
    last = parts[part].last_inside
    exposed[frame].inside = 1
    exposed[frame].before = last
    exposed[frame].after = NOBODY
    if last == NOBODY:
        parts[part].first_inside = frame
    else:
        exposed[last].after = frame
    parts[part].last_inside = frame


@part_of_kernel
def leave(parts, part, exposed, frame):
    """A visit has ended, one way or the other."""
    if not exposed[frame].inside:
        return
    exposed[frame].inside = 0
    before, after = exposed[frame].before, exposed[frame].after
    if before == NOBODY:
        parts[part].first_inside = after
    else:
        exposed[before].after = after
    if after == NOBODY:
        parts[part].last_inside = before
    else:
        exposed[after].before = before


@part_of_kernel
def reads(way, outage, number, state, down):
    """Whether the consumer with this number of its group goes on when an outage begins or ends."""
    if outage.instances > 0 and number % outage.instances == outage.instance:
        way.still += 1 if state == FALL else -1
    return down == 0 and way.still == 0


@part_of_kernel
def down_on_the_way(parts, steps, step):
    """The first part that is down between a caller and what it calls, or NOBODY."""
    for part in (steps[step].link, steps[step].broker):
        if part != NOBODY and parts[part].down > 0:
            return part
    return NOBODY


@part_of_kernel
def profile_gap(now, amount, times, factors, flows, flow, period):
    """Time until the next arrival of a flow with a piecewise constant rate."""
    part = slice(flows[flow, 4], flows[flow, 4] + flows[flow, 5])
    return draws.profile_gap(now, amount, times[part], factors[part], period)


@part_of_kernel
def hold(frames, scope):
    """A process that may outlive the try on whose behalf it works needs that try's frame."""
    if scope != NOBODY:
        frames[scope].needed += 1


@part_of_kernel
def let_go(frames, free_frames, frames_free, scope):
    """It has ended; who needs the frame of a try last frees it."""
    if scope != NOBODY:
        frames[scope].needed -= 1
        if frames[scope].needed == 0:
            free_frames[u4(frames_free)] = scope
            frames_free += 1
    return frames_free


@part_of_kernel
def discard(frames, free_frames, frames_free, frame):
    """Forget a frame that belongs to a visit which an outage has ended, and all up to the visit."""
    if frames[frame].state == GONE_TRYING:
        frames_free = let_go(frames, free_frames, frames_free, frames[frame].trial)
    while frames[frame].role != VISIT:
        free_frames[u4(frames_free)] = frame
        frames_free += 1
        frame = frames[frame].parent
    free_frames[u4(frames_free)] = frame
    return let_go(frames, free_frames, frames_free + 1, frames[frame].scope)


@part_of_kernel
def message_of(frames, frame):
    """The frame of the message that a visit to its consumer belongs to."""
    return frames[frame].parent if frames[frame].role == VISIT else frame


@part_of_kernel
def set_out(ways, way, frames, frame):
    """Begin a way on which nobody overtakes, see `Messages.in_order` of the reference."""
    frames[frame].behind = NOBODY
    if ways[way].first == NOBODY:
        ways[way].first = frame
    else:
        frames[ways[way].last].behind = frame
    ways[way].last = frame


@part_of_kernel
def come_through(ways, way, frames, frame, held):
    """End it; whoever has been `held` at its end by this frame, or NOBODY."""
    behind = frames[frame].behind
    ways[way].first = behind
    if behind != NOBODY and frames[behind].state == held:
        return behind
    return NOBODY


@part_of_kernel
def vanish(by_step, frames, requests, frame, warmup):
    """Note that nobody will process this message."""
    counted = requests[frames[frame].request].position >= warmup
    by_step[frames[frame].step].vanished += counted
    frames[frame].result = VANISHED


@part_of_kernel
def partition_of(partitions, log, logs, shares, chance):
    """The partition of a message's key, see the reference."""
    if log == NOBODY or logs[log].shares == 0:
        return int(partitions * chance)
    low, high = 0, int(logs[log].shares)
    while low < high:
        middle = (low + high) // 2
        if chance < shares[int(logs[log].first_share) + middle]:
            high = middle
        else:
            low = middle + 1
    return low


@part_of_kernel
def next_with_room(groups, group, in_hand):
    """The next consumer in turn that may have one more message in hand; it is given one."""
    while True:
        lane = groups[group].first_lane + groups[group].turn % groups[group].lanes
        groups[group].turn += 1
        if in_hand[lane] < groups[group].prefetch:
            in_hand[lane] += 1
            return lane


@part_of_kernel
def comes_too_late(service, now, asked, deadline):
    """Load shedding at the head of the queue, see the reference."""
    standing = now - service.empty_ms > service.patient_ms
    if service.sheds_late and now >= deadline:
        return True
    return now - asked > (service.strict_ms if standing else service.patient_ms)


@part_of_kernel
def given_up(frames, requests, scope, request):
    """Whether what is committed in a scope (NOBODY: outside any attempt) is to be undone."""
    if scope == NOBODY:
        return OK < requests[request].outcome < UNFINISHED
    return frames[scope].given_up != 0


@part_of_kernel
def in_window(started, now, window_from, window_to):
    """The part of the time from `started` to `now` that lies in the measured window."""
    return max(min(now, window_to) - max(started, window_from), 0.0)


@part_of_kernel
def look(number, series_places, series_done, resources, services, parts, so_far):
    """Note who is busy, who waits (for what is down too), and what has been done so far."""
    for i in range(series_places.shape[1]):
        series_places[number, i, 0] = resources[i].users
        series_places[number, i, 1] = resources[i].length
        if i < services:
            series_places[number, i, 1] += parts[i].length
    for flow in range(len(so_far)):
        for kind in range(3):
            series_done[number, flow, kind] = so_far[flow, kind]


@part_of_kernel
def bin_of(ms):
    """The histogram bin of a time: the leading bits of its binary form, 128 bins an octave."""
    leading = np.float64(ms).view(np.int64) >> 45
    return min(max(leading - LOWEST, 0), BINS - 1)


@compiled
def kernel(
    flows,  # (flows, 6) whole: root, arrivals, size, row of the gaps' draws, first time, number of times
    periods,  # (flows,) of the profile
    times,  # all timestamps, or starts of profile parts
    factors,  # the factors of profile parts
    steps,  # STEP_ROW
    children,  # numbers of child steps
    outages,  # OUTAGE_ROW
    windows,  # (windows, 2): from, to
    outage_parts,  # the parts of all outages
    parts,  # PART: services, brokers, links
    mishaps,  # None where nothing but the business fails, so that the parts for it are left out
    policy_rows,  # POLICY
    edges,  # EDGE, of each policy
    groups,  # GROUP
    in_hand,  # (lanes,) messages that each consumer has, where their number is limited
    ways,  # WAY: to each lane, then from each outbox
    logs,  # LOG
    shares,  # cumulative shares of all partitions that differ
    outboxes,  # OUTBOX
    tolls,  # TOLL
    rings,  # the windows of all breakers
    table,  # DRAW, of each step by D_*, then of the gaps of each flow
    values,  # observed values of empirical distributions
    resources,  # RESOURCE: services, then lanes, then the rooms of groups, then places of outboxes
    services,  # number of services
    first_group,  # the number of the first group among the parts
    limit,  # requests
    warmup,  # requests not counted
    seed,
    batches,
    largest,  # frames that one state can need
    pause_after,  # events after which to come back to Python
    crowd,  # requests that may be under way at once
    registers,  # see G_*
    clock,  # now, start and end of the measured window
    ahead,  # (draws that are drawn ahead, AHEAD) numbers
    blocks,  # (draws that are drawn ahead,) the block of requests that they belong to
    turns,  # (flows,) groups of arrivals so far
    indices,  # (flows,) requests so far
    frames,
    exposed,  # EXPOSURE, a row a frame
    free_frames,  # a stack of free rows
    requests,
    free_requests,
    heap,  # EVENT
    limits,  # EVENT, the time limits of tries; the first of them is in the heap too
    urgent,
    soon,
    series_ms,  # how often to look, infinite: never
    series_places,  # (looks, resources, 2) busy and waiting
    series_done,  # (looks, flows, 3) arrived, answered well, answered badly so far
    so_far,  # (flows, 3) the same now
    out_whole,  # (requests or 0, 6): flow, index, answer, outcome, attempts, undone
    out_times,  # (requests or 0, 3): arrived, replied, completed
    sums,  # (batches, flows, 11), see A_*
    histograms,  # (batches, flows, 2, BINS): responses, completions
    extremes,  # (batches, flows, 2, 2): least and greatest response and completion
    batch_from,  # (batches + 1,) start of each batch
    by_service,  # SERVICE_RECORD
    by_step,  # STEP_RECORD
):
    """Run until everything is done (FINISHED), rows run out (FULL) or it is time to PAUSE."""
    keep = len(out_whole) > 0
    mask = u4(len(urgent) - 1)
    now = clock[0]
    window_from = clock[1]
    window_to = clock[2]
    urgent_head = registers[G_URGENT_HEAD]
    urgent_tail = registers[G_URGENT_TAIL]
    soon_head = registers[G_SOON_HEAD]
    soon_tail = registers[G_SOON_TAIL]
    heap_size = registers[G_HEAP]
    limits_size = registers[G_LIMITS]
    frames_free = registers[G_FRAMES]
    requests_free = registers[G_REQUESTS]
    events = registers[G_EVENTS]
    arrived = registers[G_ARRIVED]
    done = registers[G_DONE]
    batch = registers[G_BATCH]
    batch_next = registers[G_BATCH_NEXT]
    arriving = registers[G_ARRIVING]
    looks = registers[G_SERIES]
    next_look = (looks + 1) * series_ms
    expired = registers[G_EXPIRED]
    pause_at = events + pause_after
    status = FINISHED

    while True:
        # What happens next
        if urgent_head != urgent_tail:
            frame = urgent[urgent_head & mask]
            urgent_head += 1
        elif heap_size > 0 and heap[0].time == bits_of(now):
            frame = u4(heap[0].key & (MAX_FRAMES - 1))
            heap_pop(heap, heap_size)
            heap_size -= 1
        elif soon_head != soon_tail:
            frame = soon[soon_head & mask]
            soon_head += 1
            if frame >= RELEASE:  # a place has been released
                frame = grant(resources, u4(frame - RELEASE), frames)
                if frame != NOBODY:
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                continue
        elif heap_size > 0:
            if events > pause_at:
                status = PAUSED
                break
            due = ms_of(heap[0].time)
            if next_look <= due:
                while (looks + 1) * series_ms <= due and (arrived > done or arriving > 0):
                    if looks == len(series_done):
                        status = SERIES_FULL
                        break
                    look(looks, series_places, series_done, resources, services, parts, so_far)
                    looks += 1
                if status == SERIES_FULL:
                    break
                next_look = (looks + 1) * series_ms
            now = due
            frame = u4(heap[0].key & (MAX_FRAMES - 1))
            heap_pop(heap, heap_size)
            heap_size -= 1
        else:
            break

        if mishaps is not None and frame >= KILL:
            frame = u4(frame - KILL)
            state = KILLED
        else:
            state = np.int64(frames[frame].state)
        # Until this frame has to wait. States that follow one another without a pause stand in a
        # chain of `if`, so that a frame falls from one into the next.
        while True:
            if frames_free < largest:  # there are no more requests under way than frames
                status = FULL
                if state == KILLED:
                    frame = u4(frame + KILL)
                else:
                    frames[frame].state = state
                urgent_head -= 1  # first of all when there is room
                urgent[urgent_head & mask] = frame
                break

            wait = 0.0  # how long this frame pauses before it goes on with `state`
            step = frames[frame].step
            request = frames[frame].request
            drawn = -1  # the row of the table of draws from which `wait` is drawn
            share = 1.0  # of what is drawn
            stretch = 1.0  # times what is drawn
            extra = 0.0  # on top of what is drawn
            way = -1  # what of the step is lengthened by these two and by lost segments, as D_*

            # Steps: workers, work, children

            if state == STEP:
                service = steps[step].service
                if mishaps is not None and steps[step].apart:
                    if frames[frame].role != VISIT:
                        if parts[service].down == 0:
                            frames_free -= 1
                            visit = free_frames[u4(frames_free)]
                            frames[visit].state = STEP
                            frames[visit].step = step
                            frames[visit].request = request
                            frames[visit].role = VISIT
                            frames[visit].parent = frame
                            frames[visit].attempt = frames[frame].attempt
                            frames[visit].scope = frames[frame].scope
                            hold(frames, frames[frame].scope)
                            exposed[visit].inside = 0
                            requests[request].open += 1
                            frames[frame].state = VISITED
                            if urgent_head == urgent_tail:  # then it is its turn at once
                                frame = visit
                                continue
                            urgent[urgent_tail & mask] = visit
                            urgent_tail += 1
                            break
                        if steps[step].mode == MESSAGE:
                            frames[frame].state = STEP
                            line_up(parts, service, frames, frame)
                            break
                        by_step[step].lost += requests[request].position >= warmup
                        frames[frame].pending = service
                        state = REFUSED
                        continue
                    if steps[step].mode != MESSAGE or resources[service].unlimited:
                        enter(parts, service, exposed, frame)
                if steps[step].mode == LOCAL or resources[service].unlimited:
                    state = SERVE
                    if mishaps is not None and not steps[step].plain:
                        log = steps[step].log
                        if (
                            steps[step].mode == MESSAGE
                            and log != NOBODY
                            and (
                                now - frames[message_of(frames, frame)].paused
                                > logs[log].retention_ms
                            )
                        ):
                            vanish(by_step, frames, requests, frame, warmup)
                            state = STEP_DONE
                elif (
                    resources[service].calls >= resources[service].limit
                    and steps[step].mode != MESSAGE
                    and resources[service].users >= resources[service].capacity
                ):
                    if requests[request].position >= warmup:
                        by_step[step].rejected += 1
                        by_service[service].rejected += 1
                    frames[frame].result = REJECTED
                    state = STEP_DONE
                else:
                    frames[frame].asked = now
                    if steps[step].mode != MESSAGE:
                        if mishaps is not None and not steps[step].plain:
                            if resources[service].calls == 0:
                                resources[service].empty_ms = now
                        resources[service].calls += 1
                    if (
                        resources[service].users < resources[service].capacity
                        and resources[service].head == NOBODY
                        and is_last(now, urgent_head, urgent_tail, soon_head, soon_tail,
                                    heap, heap_size)
                    ):  # fmt: skip
                        # go on at once
                        resources[service].users += 1
                        if mishaps is not None:
                            frames[frame].next = frame
                        state = GRANTED
                    else:
                        frames[frame].state = GRANTED
                        soon_tail = ask_for(
                            resources, service, frames, frame, soon, soon_tail, mask
                        )
                        if resources[service].length > by_service[service].max_queue:
                            by_service[service].max_queue = resources[service].length
                        break

            elif mishaps is not None and state == VISIT_ENDED:
                caller = frames[frame].parent
                result = frames[frame].result
                free_frames[u4(frames_free)] = frame
                frames_free += 1
                frames_free = let_go(frames, free_frames, frames_free, frames[frame].scope)
                frame = caller
                if frames[frame].state == GONE:
                    state = GONE
                    continue
                if result == LOST and frames[frame].role != MESSAGE_STEP:
                    result = UNAVAILABLE
                frames[frame].result = result
                state = STEP_DONE

            elif mishaps is not None and state == REFUSED:
                part = frames[frame].pending
                if parts[part].hangs and parts[part].down > 0:
                    frames[frame].state = REFUSED
                    line_up(parts, part, frames, frame)
                    break
                frames[frame].result = UNAVAILABLE
                state = STEP_DONE

            if state == GRANTED:
                service = steps[step].service
                if steps[step].mode != MESSAGE:
                    resources[service].calls -= 1
                if requests[request].position >= warmup:
                    by_step[step].wait_ms += now - frames[frame].asked
                    by_service[service].wait_ms += now - frames[frame].asked
                state = SERVE
                if mishaps is not None and not steps[step].plain:
                    if steps[step].apart and not exposed[frame].inside:
                        enter(parts, service, exposed, frame)
                    log = steps[step].log
                    if steps[step].mode != MESSAGE:
                        scope = frames[frame].scope
                        deadline = np.inf if scope == NOBODY else frames[scope].deadline
                        if resources[service].sheds and comes_too_late(
                            resources[service], now, frames[frame].asked, deadline
                        ):
                            if requests[request].position >= warmup:
                                by_step[step].rejected += 1
                                by_service[service].rejected += 1
                            frames[frame].result = REJECTED
                            state = STEP_DONE
                    elif log != NOBODY and (
                        now - frames[message_of(frames, frame)].paused > logs[log].retention_ms
                    ):
                        vanish(by_step, frames, requests, frame, warmup)
                        state = STEP_DONE
                    if state == STEP_DONE:
                        resources[service].users -= 1
                        if resources[service].head != NOBODY or not is_last(
                            now, urgent_head, urgent_tail, soon_head, soon_tail, heap, heap_size
                        ):
                            soon[soon_tail & mask] = RELEASE + service
                            soon_tail += 1

            if state == SERVE:
                frames[frame].started = now
                drawn = DRAWS * step + D_WORK
                state = WORKED
                if mishaps is not None and not steps[step].plain:
                    if (
                        steps[step].mode == MESSAGE
                        and steps[step].log != NOBODY
                        and logs[steps[step].log].idempotent
                        and frames[message_of(frames, frame)].done
                    ):
                        drawn = -1
                        frames[frame].child = 0
                        frames[frame].result = OK
                        state = CHILDREN  # it has been done before
                    elif steps[step].toll != NOBODY:
                        toll = tolls[steps[step].toll]
                        way = D_WORK
                        extra = toll.work_ms
                        if happens(table[DRAWS * step + D_SAMPLED], values, seed,
                                   requests[request].index, 0, ahead, blocks):  # fmt: skip
                            extra += toll.span_ms

            elif state == WORKED:
                service = steps[step].service
                by_service[service].working_ms += in_window(
                    frames[frame].started, now, window_from, window_to
                )
                index = requests[request].index
                attempt = 0 if mishaps is None else frames[frame].attempt
                if (
                    mishaps is not None
                    and not steps[step].plain
                    and happens(
                        table[DRAWS * step + D_ERRORS], values, seed, index, attempt, ahead, blocks
                    )
                ):
                    frames[frame].result = UNAVAILABLE
                    state = SERVED
                elif steps[step].fails and happens(
                    table[DRAWS * step + D_FAILS], values, seed, index, attempt, ahead, blocks
                ):
                    frames[frame].result = FAILED
                    state = SERVED
                else:
                    if mishaps is not None and steps[step].mode == MESSAGE:
                        message = message_of(frames, frame)
                        if frames[message].done:
                            by_step[step].duplicates += requests[request].position >= warmup
                        frames[message].done = 1
                    if steps[step].undoes:  # the local transaction commits
                        frames_free -= 1
                        undo = free_frames[u4(frames_free)]
                        frames[undo].state = UNDO
                        frames[undo].step = step
                        frames[undo].request = request
                        frames[undo].role = UNDOING
                        if mishaps is not None:
                            frames[undo].attempt = frames[frame].attempt
                        frames[undo].next = NOBODY
                        scope = NOBODY if mishaps is None else frames[frame].scope
                        if given_up(frames, requests, scope, request):
                            requests[request].open += 1
                            urgent[urgent_tail & mask] = undo
                            urgent_tail += 1
                        elif scope != NOBODY:
                            if frames[scope].first_commit == NOBODY:
                                frames[scope].first_commit = undo
                            else:
                                frames[frames[scope].last_commit].next = undo
                            frames[scope].last_commit = undo
                        else:
                            if requests[request].first_commit == NOBODY:
                                requests[request].first_commit = undo
                            else:
                                frames[requests[request].last_commit].next = undo
                            requests[request].last_commit = undo
                    frames[frame].child = 0
                    frames[frame].result = OK
                    state = CHILDREN

            if state == CHILDREN:
                count = steps[step].children
                if frames[frame].child == count:
                    state = SERVED
                elif steps[step].parallel:
                    for i in range(count):
                        frames_free -= 1
                        branch = free_frames[u4(frames_free)]
                        called = children[u4(steps[step].first_child + i)]
                        frames[branch].state = ASK if steps[called].policy == NOBODY else CALL
                        frames[branch].step = called
                        frames[branch].request = request
                        frames[branch].role = BRANCH
                        frames[branch].parent = frame
                        if mishaps is not None:
                            frames[branch].attempt = frames[frame].attempt
                            frames[branch].scope = frames[frame].scope
                            hold(frames, frames[frame].scope)
                            requests[request].open += 1
                        urgent[urgent_tail & mask] = branch
                        urgent_tail += 1
                    frames[frame].pending = count
                    frames[frame].state = JOINED
                    break
                else:
                    frames_free -= 1
                    child = free_frames[u4(frames_free)]
                    frames[child].step = children[u4(steps[step].first_child + frames[frame].child)]
                    frames[child].request = request
                    frames[child].role = SEQUENCE
                    frames[child].parent = frame
                    if mishaps is not None:
                        frames[child].attempt = frames[frame].attempt
                        frames[child].scope = frames[frame].scope
                        frames[frame].inner = child
                        frames[frame].state = CALLING
                    frames[frame].child += 1
                    state = ASK if steps[frames[child].step].policy == NOBODY else CALL
                    frame = child
                    continue

            if state == JOINED or state == SERVED:
                service = steps[step].service
                failed = frames[frame].result != OK
                local = steps[step].mode == LOCAL
                if not local:
                    by_service[service].held_ms += in_window(
                        frames[frame].started, now, window_from, window_to
                    )
                    if not resources[service].unlimited:
                        resources[service].users -= 1
                        if resources[service].head != NOBODY or not is_last(
                            now, urgent_head, urgent_tail, soon_head, soon_tail, heap, heap_size
                        ):  # else nobody to give the place to
                            soon[soon_tail & mask] = RELEASE + service
                            soon_tail += 1
                if requests[request].position >= warmup:
                    by_step[step].handled += 1
                    by_step[step].failed += failed
                    by_step[step].held_ms += now - frames[frame].started
                    if not local:
                        by_service[service].handled += 1
                state = STEP_DONE

            if state == STEP_DONE:
                role = frames[frame].role
                if mishaps is not None and role == VISIT:
                    leave(parts, steps[step].service, exposed, frame)
                    frames[frame].state = VISIT_ENDED
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                    state = ENDED
                elif role == SEQUENCE or role == BRANCH or role == ATTEMPT:
                    state = ANSWERED
                    wait = frames[frame].half
                    if mishaps is not None and not steps[step].plain:
                        part = steps[step].link
                        if part != NOBODY and parts[part].down > 0:
                            frames[frame].pending = part
                            state = CUT_OFF
                            continue
                        way = D_LOSS_BACK
                else:
                    result = frames[frame].result
                    if role == ANSWER:
                        if result != OK and result != REJECTED:
                            result = FAILED
                        requests[request].reply = result
                        so_far[requests[request].flow, 1 if result == OK else 2] += 1
                        requests[request].replied = now
                    else:
                        if mishaps is not None and result > FAILED and result != VANISHED:
                            frames[frame].tries += 1
                            log = steps[step].log
                            deliveries = DELIVERIES if log == NOBODY else logs[log].deliveries
                            if frames[frame].tries != deliveries:
                                by_step[step].redelivered += requests[request].position >= warmup
                                frames[frame].attempt = draws.again(
                                    frames[frame].trial, frames[frame].tries
                                )
                                wait = 0.0 if log == NOBODY else logs[log].redelivery_ms
                                state = STEP
                                if wait == 0.0:
                                    continue
                                frames[frame].state = STEP
                                if now + wait > now:
                                    events += 1
                                    heap_push(
                                        heap, heap_size, now + wait, events << FRAME_BITS | frame
                                    )
                                    heap_size += 1
                                else:
                                    soon[soon_tail & mask] = frame
                                    soon_tail += 1
                                break
                            by_step[step].dead += requests[request].position >= warmup
                        if frames[frame].parent != NOBODY:
                            resources[frames[frame].parent].users -= 1
                            soon[soon_tail & mask] = RELEASE + frames[frame].parent
                            soon_tail += 1
                            if mishaps is not None and groups[steps[step].group].prefetch > 0:
                                frames_free -= 1
                                back = free_frames[u4(frames_free)]
                                frames[back].state = GIVE_BACK
                                frames[back].step = step
                                frames[back].request = request
                                frames[back].attempt = 0
                                frames[back].parent = frames[frame].parent
                                frames[back].half = frames[frame].half
                                urgent[urgent_tail & mask] = back
                                urgent_tail += 1
                        if mishaps is not None and result == VANISHED:
                            if requests[request].outcome == OK:
                                requests[request].outcome = UNFINISHED
                            result = OK
                        if result != OK:
                            result = FAILED
                    if result != OK and (
                        requests[request].outcome == OK or requests[request].outcome == UNFINISHED
                    ):
                        requests[request].outcome = result
                        undo = requests[request].first_commit
                        requests[request].first_commit = NOBODY
                        while undo != NOBODY:
                            requests[request].open += 1
                            urgent[urgent_tail & mask] = undo
                            urgent_tail += 1
                            undo = frames[undo].next
                    state = ENDED

            # Calls and messages

            elif state == ASK:
                if mishaps is not None and not steps[step].plain and steps[step].mode == MESSAGE:
                    log = steps[step].log
                    if log != NOBODY and (logs[log].outbox != NOBODY or logs[log].acks == NO_ACKS):
                        frames_free -= 1
                        message = free_frames[u4(frames_free)]
                        frames[message].step = step
                        frames[message].request = request
                        frames[message].attempt = frames[frame].attempt
                        requests[request].open += 1
                        urgent[urgent_tail & mask] = message
                        urgent_tail += 1
                        if logs[log].outbox != NOBODY:
                            frames[message].state = POST
                            frames[message].role = POSTED
                            frames[message].parent = frame
                            frames[frame].state = HEARD
                            break
                        frames[message].state = TOSS
                        frames[message].role = MESSAGE_STEP
                        frames[message].parent = NOBODY
                        frames[message].scope = NOBODY
                        frames[message].trial = frames[frame].attempt
                        frames[message].tries = 0
                        frames[message].done = 0
                        state = HEARD
                        continue
                drawn = DRAWS * step + D_NETWORK
                share = 0.5
                if mishaps is not None and not steps[step].plain:
                    part = down_on_the_way(parts, steps, step)
                    if part != NOBODY:
                        frames[frame].pending = part
                        state = CUT_OFF
                        continue
                    way = D_LOSS_THERE
                    if steps[step].toll != NOBODY:
                        toll = tolls[steps[step].toll]
                        extra = toll.hop_ms
                        if happens(table[DRAWS * step + D_HANDSHAKE], values, seed,
                                   requests[request].index, frames[frame].attempt,
                                   ahead, blocks):  # fmt: skip
                            stretch = 1 + 2 * toll.round_trips
                            extra += toll.handshake_ms
                state = PUBLISHED if steps[step].mode == MESSAGE else STEP

            elif mishaps is not None and (state == CUT_OFF or state == UNREACHED):
                part = frames[frame].pending
                if state == CUT_OFF:
                    by_step[step].lost += requests[request].position >= warmup
                if parts[part].hangs and parts[part].down > 0:
                    frames[frame].state = UNREACHED
                    line_up(parts, part, frames, frame)
                    break
                frames[frame].result = UNAVAILABLE
                state = ANSWERED
                continue

            elif state == PUBLISHED:
                if mishaps is not None and steps[step].broker != NOBODY:
                    part = steps[step].broker
                    frames[frame].pending = parts[part].falls
                    if parts[part].down > 0:
                        frames[frame].pending = part
                        state = CUT_OFF
                        continue
                drawn = DRAWS * step + D_ACK
                state = ACKNOWLEDGED
                if mishaps is not None and steps[step].log != NOBODY:
                    if logs[steps[step].log].acks == ALL_ACKS:
                        state = COPIED

            elif state == ACKNOWLEDGED:
                if mishaps is not None and steps[step].broker != NOBODY:
                    part = steps[step].broker
                    if parts[part].falls != frames[frame].pending:
                        frames[frame].pending = part
                        state = CUT_OFF
                        continue
                frames_free -= 1
                message = free_frames[u4(frames_free)]
                frames[message].state = DELIVER
                frames[message].step = step
                frames[message].request = request
                frames[message].role = MESSAGE_STEP
                frames[message].parent = NOBODY
                if mishaps is not None:
                    frames[message].attempt = frames[frame].attempt
                    frames[message].scope = NOBODY
                    frames[message].trial = frames[frame].attempt
                    frames[message].tries = 0
                    frames[message].done = 0
                requests[request].open += 1
                urgent[urgent_tail & mask] = message
                urgent_tail += 1
                frames[frame].result = OK
                wait = frames[frame].half
                if mishaps is not None and not steps[step].plain:
                    part = steps[step].link
                    if part != NOBODY and parts[part].down > 0:
                        frames[frame].pending = part
                        state = CUT_OFF
                        continue
                    way = D_LOSS_BACK
                state = ANSWERED

            elif state == ANSWERED:
                if frames[frame].role == BRANCH:
                    frames[frame].state = BRANCH_ENDED
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                    if mishaps is None:
                        break
                    state = ENDED
                elif mishaps is not None and frames[frame].role == ATTEMPT:
                    frames[frame].done = 1
                    frames[frame].state = ATTEMPT_ENDED
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                    state = ENDED
                else:
                    result = frames[frame].result
                    free_frames[u4(frames_free)] = frame
                    frames_free += 1
                    frame = frames[frame].parent
                    state = CHILDREN
                    if result != OK:
                        frames[frame].result = policies.passed_on(result)
                        state = SERVED
                    continue

            elif state == BRANCH_ENDED:
                parent = frames[frame].parent
                if frames[frame].result != OK:
                    result = policies.passed_on(frames[frame].result)
                    if frames[parent].result == OK or result < frames[parent].result:
                        frames[parent].result = result
                free_frames[u4(frames_free)] = frame
                frames_free += 1
                if mishaps is not None:
                    frames_free = let_go(frames, free_frames, frames_free, frames[frame].scope)
                frames[parent].pending -= 1
                if frames[parent].pending == 0:
                    soon[soon_tail & mask] = parent
                    soon_tail += 1
                break

            elif state == DELIVER or state == HAND_OVER:
                if state == DELIVER:
                    group = steps[step].group
                    if group != NOBODY and (mishaps is None or groups[group].prefetch == 0):
                        attempt = 0 if mishaps is None else frames[frame].attempt
                        chance = draw(table[DRAWS * step + D_PARTITION], values, seed,
                                      requests[request].index, attempt, ahead, blocks)  # fmt: skip
                        partition = partition_of(
                            groups[group].partitions, steps[step].log, logs, shares, chance
                        )
                        lane = groups[group].first_lane + partition % groups[group].lanes
                        frames[frame].parent = services + lane
                        frames[frame].result = OK
                        set_out(ways, lane, frames, frame)
                    if mishaps is not None and steps[step].log != NOBODY:
                        state = STORED
                        continue
                if mishaps is not None and not steps[step].plain:
                    part = steps[step].broker
                    if steps[step].log != NOBODY and logs[steps[step].log].mirrored:
                        part = NOBODY
                    if part == NOBODY or parts[part].down == 0:
                        part = steps[step].delivery_link
                    if part != NOBODY and parts[part].down > 0:
                        frames[frame].state = HAND_OVER
                        line_up(parts, part, frames, frame)
                        break
                    way = D_LOSS_DELIVERY
                drawn = DRAWS * step + D_DELIVERY
                share = 0.5
                state = DELIVERED

            elif state == DELIVERED or state == HELD:
                if steps[step].group == NOBODY:
                    state = STEP
                    continue
                lane = np.int64(frames[frame].parent)
                if ways[lane - services].first != frame:
                    frames[frame].state = HELD
                    break
                behind = come_through(ways, lane - services, frames, frame, HELD)
                if behind != NOBODY:
                    soon[soon_tail & mask] = behind
                    soon_tail += 1
                if mishaps is not None and frames[frame].result == VANISHED:
                    frames[frame].parent = NOBODY
                    state = STEP_DONE
                    continue
                frames[frame].asked = now
                frames[frame].state = LANE_GRANTED
                soon_tail = ask_for(resources, lane, frames, frame, soon, soon_tail, mask)
                break

            elif state == LANE_GRANTED:
                if requests[request].position >= warmup:
                    by_step[step].wait_ms += now - frames[frame].asked
                    by_service[steps[step].service].wait_ms += now - frames[frame].asked
                state = STEP
                continue

            # The special ways of a message

            elif mishaps is not None and HEARD <= state:
                if state == HEARD:
                    frames[frame].result = OK
                    state = ANSWERED
                    continue

                elif state == COPIED:
                    drawn = DRAWS * step + D_REPLICATION
                    state = ACKNOWLEDGED

                elif state == TOSS:
                    part = steps[step].link
                    if part != NOBODY and parts[part].down > 0:
                        vanish(by_step, frames, requests, frame, warmup)
                        state = STEP_DONE
                        continue
                    drawn = DRAWS * step + D_NETWORK
                    share = 0.5
                    way = D_LOSS_THERE
                    state = TOSSED

                elif state == TOSSED:
                    part = steps[step].broker
                    if part != NOBODY:
                        if parts[part].down > 0:
                            vanish(by_step, frames, requests, frame, warmup)
                            state = STEP_DONE
                            continue
                        frames[frame].pending = parts[part].falls
                    drawn = DRAWS * step + D_ACK
                    state = TOSS_STORED

                elif state == TOSS_STORED:
                    part = steps[step].broker
                    state = DELIVER
                    if part != NOBODY and parts[part].falls != frames[frame].pending:
                        vanish(by_step, frames, requests, frame, warmup)
                        state = STEP_DONE
                    continue

                # The producer's buffer

                elif state == POST:
                    places = outboxes[logs[steps[step].log].outbox].places
                    frames[frame].state = PLACED
                    soon_tail = ask_for(resources, places, frames, frame, soon, soon_tail, mask)
                    break

                elif state == PLACED or state == LINGERED:
                    outbox = logs[steps[step].log].outbox
                    if state == PLACED:
                        if not outboxes[outbox].waits:
                            soon[soon_tail & mask] = frames[frame].parent
                            soon_tail += 1
                        line_up(outboxes, outbox, frames, frame)
                        frames[frame].state = CONFIRMED
                        sends = outboxes[outbox].length == outboxes[outbox].batch
                    else:
                        sends = outboxes[outbox].opened == frames[frame].trial
                        free_frames[u4(frames_free)] = frame
                        frames_free += 1
                    if sends or (state == PLACED and outboxes[outbox].length == 1):
                        frames_free -= 1
                        other = free_frames[u4(frames_free)]
                        first = outboxes[outbox].head
                        frames[other].step = frames[first].step
                        frames[other].request = frames[first].request
                        frames[other].attempt = frames[first].attempt
                        frames[other].state = SEND if sends else LINGER
                        frames[other].trial = first if sends else outboxes[outbox].opened
                        if sends:
                            outboxes[outbox].head = NOBODY
                            outboxes[outbox].length = 0
                            outboxes[outbox].opened += 1
                            set_out(ways, len(in_hand) + outbox, frames, other)
                        urgent[urgent_tail & mask] = other
                        urgent_tail += 1
                    break

                elif state == LINGER:
                    due = now + outboxes[logs[steps[step].log].outbox].linger_ms
                    frames[frame].state = LINGERED
                    if due > now:
                        events += 1
                        heap_push(heap, heap_size, due, events << FRAME_BITS | frame)
                        heap_size += 1
                    else:
                        soon[soon_tail & mask] = frame
                        soon_tail += 1
                    break

                elif state == SEND:
                    part = down_on_the_way(parts, steps, step)
                    if part != NOBODY:
                        frames[frame].state = SEND
                        line_up(parts, part, frames, frame)
                        break
                    drawn = DRAWS * step + D_NETWORK
                    share = 0.5
                    way = D_LOSS_THERE
                    state = SENT

                elif state == SENT:
                    part = steps[step].broker
                    if part != NOBODY:
                        if parts[part].down > 0:
                            state = SEND
                            continue
                        frames[frame].pending = parts[part].falls
                    drawn = DRAWS * step + D_ACK
                    state = SENT_COPIED if logs[steps[step].log].acks == ALL_ACKS else BROUGHT

                elif state == SENT_COPIED:
                    drawn = DRAWS * step + D_REPLICATION
                    state = BROUGHT

                elif state == BROUGHT or state == BROUGHT_HELD:
                    brings = len(in_hand) + logs[steps[step].log].outbox
                    part = steps[step].broker
                    if (
                        state == BROUGHT
                        and part != NOBODY
                        and (parts[part].falls != frames[frame].pending)
                    ):
                        state = SEND
                        continue
                    if ways[brings].first != frame:
                        frames[frame].state = BROUGHT_HELD
                        break
                    behind = come_through(ways, brings, frames, frame, BROUGHT_HELD)
                    if behind != NOBODY:
                        soon[soon_tail & mask] = behind
                        soon_tail += 1
                    posted = frames[frame].trial
                    while posted != NOBODY:
                        frames_free -= 1
                        message = free_frames[u4(frames_free)]
                        frames[message].state = DELIVER
                        frames[message].step = frames[posted].step
                        frames[message].request = frames[posted].request
                        frames[message].role = MESSAGE_STEP
                        frames[message].parent = NOBODY
                        frames[message].attempt = frames[posted].attempt
                        frames[message].scope = NOBODY
                        frames[message].trial = frames[posted].attempt
                        frames[message].tries = 0
                        frames[message].done = 0
                        requests[frames[posted].request].open += 1
                        urgent[urgent_tail & mask] = message
                        urgent_tail += 1
                        posted = frames[posted].next
                    state = SEND_BACK
                    continue

                elif state == SEND_BACK:
                    part = steps[step].link
                    if part != NOBODY and parts[part].down > 0:
                        frames[frame].state = SEND_BACK
                        line_up(parts, part, frames, frame)
                        break
                    wait = frames[frame].half
                    way = D_LOSS_BACK
                    state = SENT_BACK

                elif state == SENT_BACK:
                    posted = frames[frame].trial
                    while posted != NOBODY:
                        soon[soon_tail & mask] = posted
                        soon_tail += 1
                        posted = frames[posted].next
                    free_frames[u4(frames_free)] = frame
                    frames_free += 1
                    break

                elif state == CONFIRMED:
                    outbox = logs[steps[step].log].outbox
                    places = outboxes[outbox].places
                    resources[places].users -= 1
                    soon[soon_tail & mask] = RELEASE + places
                    soon_tail += 1
                    if outboxes[outbox].waits:
                        soon[soon_tail & mask] = frames[frame].parent
                        soon_tail += 1
                    state = ENDED

                # The log and its consumers

                elif state == STORED:
                    state = LOGGED
                    if logs[steps[step].log].acks != ALL_ACKS:
                        part = steps[step].broker
                        if part != NOBODY:
                            frames[frame].pending = parts[part].falls
                        drawn = DRAWS * step + D_REPLICATION

                elif state == LOGGED:
                    log = steps[step].log
                    part = steps[step].broker
                    if (
                        part != NOBODY
                        and logs[log].acks != ALL_ACKS
                        and parts[part].falls != frames[frame].pending
                    ):
                        vanish(by_step, frames, requests, frame, warmup)
                        state = STEP_DONE if frames[frame].parent == NOBODY else DELIVERED
                    else:
                        frames[frame].paused = now
                        state = MIRROR if logs[log].mirrored else IN_LOG
                    continue

                elif state == MIRROR:
                    log = steps[step].log
                    part = steps[step].broker
                    if part == NOBODY or parts[part].down == 0:
                        part = logs[log].mirror_link
                    if part != NOBODY and parts[part].down > 0:
                        frames[frame].state = MIRROR
                        line_up(parts, part, frames, frame)
                        break
                    drawn = DRAWS * step + D_MIRROR
                    share = 0.5
                    way = D_LOSS_MIRROR
                    state = MIRRORED

                elif state == MIRRORED:
                    drawn = DRAWS * step + D_LAG
                    state = IN_LOG

                elif state == IN_LOG:
                    group = steps[step].group
                    if group == NOBODY or groups[group].prefetch == 0:
                        state = HAND_OVER
                        continue
                    frames[frame].asked = now
                    frames[frame].state = ROOMY
                    soon_tail = ask_for(
                        resources, groups[group].room, frames, frame, soon, soon_tail, mask
                    )
                    break

                elif state == ROOMY:
                    if requests[request].position >= warmup:
                        by_step[step].wait_ms += now - frames[frame].asked
                        by_service[steps[step].service].wait_ms += now - frames[frame].asked
                    lane = np.int64(next_with_room(groups, steps[step].group, in_hand))
                    frames[frame].parent = services + lane
                    frames[frame].result = OK
                    set_out(ways, lane, frames, frame)
                    state = HAND_OVER

                elif state == GIVE_BACK:
                    wait = frames[frame].half
                    state = GIVEN_BACK

                else:  # GIVEN_BACK
                    room = groups[steps[step].group].room
                    in_hand[frames[frame].parent - services] -= 1
                    resources[room].users -= 1
                    soon[soon_tail & mask] = RELEASE + room
                    soon_tail += 1
                    free_frames[u4(frames_free)] = frame
                    frames_free += 1
                    break

            # Outages

            elif mishaps is not None and OUTAGE <= state <= GONE_TRYING:
                if state == OUTAGE:
                    outage = outages[step]
                    turn = frames[frame].pending
                    from_ms = np.inf
                    to_ms = np.inf
                    if outage.drawn:
                        if arriving > 0:
                            up_ms = draw(table[outage.table], values, seed, turn, 0, ahead, blocks)
                            down_ms = draw(
                                table[outage.table + 1], values, seed, turn, 0, ahead, blocks
                            )
                            from_ms = now + up_ms
                            to_ms = now + up_ms + down_ms
                    elif turn < outage.windows:
                        from_ms = windows[outage.first_window + turn, 0]
                        to_ms = windows[outage.first_window + turn, 1]
                    frames[frame].started = to_ms
                    wait = max(from_ms - now, 0.0)
                    state = FALL

                elif state == FALL or state == RISE:
                    outage = outages[step]
                    for i in range(outage.parts):
                        part = outage_parts[outage.first_part + i]
                        if outage.instances > 0:
                            workers = np.int64(parts[part].workers) // outage.instances
                            workers += (
                                outage.instance < np.int64(parts[part].workers) % outage.instances
                            )
                            parts[part].taken += workers if state == FALL else -workers
                        elif state == FALL:
                            parts[part].down += 1
                            parts[part].falls += 1
                            parts[part].hangs += outage.hangs
                        else:
                            parts[part].down -= 1
                            parts[part].hangs -= outage.hangs
                        if part < services and not resources[part].unlimited:
                            left = max(
                                np.int64(parts[part].workers) - np.int64(parts[part].taken), 0
                            )
                            resources[part].capacity = 0 if parts[part].down > 0 else left
                            first = grant(resources, part, frames)
                            while first != NOBODY:
                                soon[soon_tail & mask] = first
                                soon_tail += 1
                                first = grant(resources, part, frames)
                        elif part >= first_group:
                            group = part - first_group
                            for j in range(groups[group].lanes):
                                lane = services + groups[group].first_lane + j
                                resources[lane].capacity = reads(
                                    ways[lane - services], outage, j, state, parts[part].down
                                )
                                first = grant(resources, lane, frames)
                                if first != NOBODY:
                                    soon[soon_tail & mask] = first
                                    soon_tail += 1
                        if state == FALL and not outage.drains:
                            victim = parts[part].first_inside
                            while victim != NOBODY:
                                number = requests[frames[victim].request].index
                                if (
                                    outage.instances == 0
                                    or number % outage.instances == outage.instance
                                ):
                                    urgent[urgent_tail & mask] = KILL + victim
                                    urgent_tail += 1
                                victim = exposed[victim].after
                        if state == RISE:
                            waiting = parts[part].head
                            parts[part].head = NOBODY
                            parts[part].length = 0
                            while waiting != NOBODY:
                                soon[soon_tail & mask] = waiting
                                soon_tail += 1
                                waiting = frames[waiting].next
                    if state == FALL:
                        wait = max(frames[frame].started - now, 0.0)
                        state = RISE
                    else:
                        frames[frame].pending += 1
                        state = OUTAGE

                elif state == KILLED:
                    service = steps[step].service
                    leave(parts, service, exposed, frame)
                    inner = frame
                    while frames[inner].state == CALLING:
                        inner = frames[inner].inner
                    waits = False
                    if frames[inner].state == TRIED or frames[inner].state == TRY:
                        number = steps[frames[inner].step].policy
                        policies.hangs_up(edges[number], policy_rows[number], frames[inner].tries,
                                          frames[inner].state == TRIED, frames[inner].pending)  # fmt: skip
                    if frames[inner].state == TRIED:
                        frames[inner].state = GONE_TRYING
                        trial = frames[inner].trial
                        frames[trial].given_up = 1
                        commit = frames[trial].first_commit
                        frames[trial].first_commit = NOBODY
                        while commit != NOBODY:
                            requests[request].open += 1
                            urgent[urgent_tail & mask] = commit
                            urgent_tail += 1
                            commit = frames[commit].next
                    else:
                        waits = frames[frame].state == GRANTED
                        frames[inner].state = GONE
                    caller = frames[frame].parent
                    if not resources[service].unlimited:
                        if waits and steps[step].mode != MESSAGE:
                            resources[service].calls -= 1
                        if frames[frame].next == frame:  # it has a worker
                            resources[service].users -= 1
                        else:
                            leave_queue(resources, service, frames, frame)
                            free_frames[u4(frames_free)] = frame
                            frames_free += 1
                            frames_free = let_go(
                                frames, free_frames, frames_free, frames[frame].scope
                            )
                        if resources[service].head != NOBODY or not is_last(
                            now, urgent_head, urgent_tail, soon_head, soon_tail, heap, heap_size
                        ):  # also where it has only waited, as in SimPy
                            soon[soon_tail & mask] = RELEASE + service
                            soon_tail += 1
                    by_step[step].lost += requests[request].position >= warmup
                    frames_free -= 1
                    frame = free_frames[u4(frames_free)]  # what is left of it: the news of its end
                    frames[frame].step = step
                    frames[frame].request = request
                    frames[frame].role = VISIT
                    frames[frame].parent = caller
                    frames[frame].result = LOST
                    frames[frame].scope = NOBODY
                    exposed[frame].inside = 0
                    state = HUNG

                elif state == HUNG:
                    service = steps[step].service
                    if (
                        steps[step].mode != MESSAGE
                        and parts[service].hangs
                        and parts[service].down > 0
                    ):
                        frames[frame].state = HUNG
                        line_up(parts, service, frames, frame)
                        break
                    frames[frame].state = VISIT_ENDED
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                    state = ENDED

                else:  # GONE or GONE_TRYING: nobody goes on with it
                    frames_free = discard(frames, free_frames, frames_free, frame)
                    break

            # Policies

            elif mishaps is not None and CALL <= state <= EXPIRED:
                if state == CALL:
                    number = steps[step].policy
                    if policy_rows[number].budget < np.inf:
                        policies.earns(edges[number], policy_rows[number], now)
                    frames[frame].tries = 0
                    frames[frame].paused = 0.0
                    state = TRY

                if state == TRY:
                    number = steps[step].policy
                    policy = policy_rows[number]
                    scope = frames[frame].scope
                    deadline = np.inf if scope == NOBODY else frames[scope].deadline
                    index = requests[request].index
                    tried = draws.again(frames[frame].attempt, frames[frame].tries)
                    limit_ms = draw(
                        table[DRAWS * step + D_LIMIT], values, seed, index, tried, ahead, blocks
                    )
                    ends = min(now + limit_ms, deadline)
                    chance = 0.0
                    if policy.throttle > 0.0:
                        chance = draw(table[DRAWS * step + D_THROTTLE], values, seed,
                                      index, tried, ahead, blocks)  # fmt: skip
                    if policies.lets_through(edges[number], policy, now, chance):
                        frames_free -= 1
                        trial = free_frames[u4(frames_free)]
                        frames[trial].state = ASK
                        frames[trial].step = step
                        frames[trial].request = request
                        frames[trial].role = ATTEMPT
                        frames[trial].parent = frame
                        frames[trial].attempt = tried
                        frames[trial].scope = trial
                        frames[trial].deadline = ends if policy.passes else deadline
                        frames[trial].done = 0
                        frames[trial].needed = 2  # by its caller, and by the news of its end
                        frames[trial].lapsed = 0
                        frames[trial].given_up = 0
                        frames[trial].first_commit = NOBODY
                        frames[trial].timer = NOBODY
                        requests[request].open += 1
                        if ends < np.inf:
                            frames_free -= 1
                            timer = free_frames[u4(frames_free)]
                            frames[timer].state = TIME_UP
                            frames[timer].parent = trial
                            frames[timer].pending = 0
                            frames[trial].timer = timer
                            due = now + max(ends - now, 0.0)
                            if due > now:
                                events += 1
                                heap_push(limits, limits_size, due, events << FRAME_BITS | timer)
                                limits_size += 1
                                heap_size = announce(limits, frames, heap, heap_size)
                            else:
                                soon[soon_tail & mask] = timer
                                soon_tail += 1
                        frames[frame].trial = trial
                        frames[frame].pending = edges[number].turn
                        frames[frame].state = TRIED
                        if urgent_head == urgent_tail:
                            frame = trial
                            state = ASK
                            continue
                        urgent[urgent_tail & mask] = trial
                        urgent_tail += 1
                        break
                    frames[frame].result = BROKEN
                    state = AGAIN

                if state == TRIED:
                    number = steps[step].policy
                    trial = frames[frame].trial
                    result = frames[trial].result if frames[trial].done else TIMED_OUT
                    frames[frame].result = result
                    commit = frames[trial].first_commit
                    scope = frames[frame].scope
                    if result == OK and not given_up(frames, requests, scope, request):
                        if commit != NOBODY and scope != NOBODY:
                            if frames[scope].first_commit == NOBODY:
                                frames[scope].first_commit = commit
                            else:
                                frames[frames[scope].last_commit].next = commit
                            frames[scope].last_commit = frames[trial].last_commit
                        elif commit != NOBODY:
                            if requests[request].first_commit == NOBODY:
                                requests[request].first_commit = commit
                            else:
                                frames[requests[request].last_commit].next = commit
                            requests[request].last_commit = frames[trial].last_commit
                    else:
                        frames[trial].given_up = 1
                        while commit != NOBODY:
                            requests[request].open += 1
                            urgent[urgent_tail & mask] = commit
                            urgent_tail += 1
                            commit = frames[commit].next
                    frames[trial].needed -= 1
                    if frames[trial].needed == 0:
                        free_frames[u4(frames_free)] = trial
                        frames_free += 1
                    policies.answered(edges[number], policy_rows[number], rings,
                                      policy_rows[number].ring, result, now,
                                      frames[frame].pending)  # fmt: skip
                    state = AGAIN

                if state == AGAIN:
                    number = steps[step].policy
                    policy = policy_rows[number]
                    result = frames[frame].result
                    tried = draws.again(frames[frame].attempt, frames[frame].tries)
                    frames[frame].tries += 1
                    if requests[request].position >= warmup:
                        by_step[step].tried += 1
                        by_step[step].timed_out += result == TIMED_OUT
                        by_step[step].broken += result == BROKEN
                    if policies.tries_again(
                        edges[number], policy, result, frames[frame].tries, now
                    ):
                        requests[request].attempts += 1
                        pause = 0.0
                        chance = 0.0
                        if policy.backoff == DRAWN:
                            pause = draw(table[DRAWS * step + D_PAUSE], values, seed,
                                         requests[request].index, tried, ahead, blocks)  # fmt: skip
                        elif policy.backoff > DRAWN:
                            chance = draw(table[DRAWS * step + D_JITTER], values, seed,
                                          requests[request].index, tried, ahead, blocks)  # fmt: skip
                        wait = policies.pause_ms(
                            policy, frames[frame].tries, frames[frame].paused, chance, pause
                        )
                        frames[frame].paused = wait
                        state = TRY
                    else:
                        state = STEP_DONE if frames[frame].role == ANSWER else ANSWERED
                        continue

                elif state == ATTEMPT_ENDED:
                    frames[frame].needed -= 1
                    if frames[frame].lapsed:  # nobody waits for it any more
                        if frames[frame].needed == 0:
                            free_frames[u4(frames_free)] = frame
                            frames_free += 1
                        break
                    caller = frames[frame].parent
                    if frames[frame].timer != NOBODY:
                        frames[frames[frame].timer].state = EXPIRED
                        expired += 1
                        if expired > SWEEP_FROM and 2 * expired > limits_size:
                            were_free = frames_free
                            limits_size, frames_free = sweep(
                                limits, limits_size, frames, free_frames, frames_free
                            )
                            expired -= frames_free - were_free
                        soon[soon_tail & mask] = caller
                        soon_tail += 1
                        break
                    frame = caller
                    state = TRIED
                    if frames[frame].state == GONE_TRYING:
                        state = GONE_TRYING
                    continue

                elif state == TIME_UP or state == EXPIRED:
                    if state == TIME_UP:
                        trial = frames[frame].parent
                        frames[trial].lapsed = 1
                        soon[soon_tail & mask] = frames[trial].parent
                        soon_tail += 1
                    else:
                        expired -= 1
                    free_frames[u4(frames_free)] = frame
                    frames_free += 1
                    if frames[frame].pending:
                        heap_pop(limits, limits_size)
                        limits_size -= 1
                        if limits_size > 0:
                            heap_size = announce(limits, frames, heap, heap_size)
                    break

            # Sagas: undo

            elif state == UNDO:
                drawn = DRAWS * step + D_UNDO_NETWORK
                share = 0.5
                state = UNDO_AT_BROKER if steps[step].mode == MESSAGE else UNDO_ARRIVED

            elif state == UNDO_AT_BROKER:
                drawn = DRAWS * step + D_UNDO_ACK
                state = UNDO_SENT

            elif state == UNDO_SENT:
                drawn = DRAWS * step + D_UNDO_DELIVERY
                share = 0.5
                state = UNDO_ARRIVED

            elif state == UNDO_ARRIVED:
                service = steps[step].service
                if resources[service].unlimited:
                    state = UNDO_GRANTED
                else:
                    frames[frame].state = UNDO_GRANTED
                    soon_tail = ask_for(resources, service, frames, frame, soon, soon_tail, mask)
                    if resources[service].length > by_service[service].max_queue:
                        by_service[service].max_queue = resources[service].length
                    break

            elif state == UNDO_GRANTED:
                frames[frame].started = now
                drawn = DRAWS * step + D_UNDO_WORK
                state = UNDO_WORKED

            elif state == UNDO_WORKED:
                service = steps[step].service
                busy = in_window(frames[frame].started, now, window_from, window_to)
                by_service[service].held_ms += busy
                by_service[service].working_ms += busy
                requests[request].undone += 1
                if requests[request].position >= warmup:
                    by_step[step].undone += 1
                if not resources[service].unlimited:
                    resources[service].users -= 1
                    soon[soon_tail & mask] = RELEASE + service
                    soon_tail += 1
                state = ENDED

            # Requests and their arrivals

            elif state == ARRIVE:
                flow = step
                if frames[frame].role == FIRST_TIME:
                    frames[frame].role = 0
                else:
                    for _ in range(flows[flow, 2]):
                        if arrived == limit:
                            break
                        if arrived - done == crowd:
                            status = CROWDED
                            break
                        if arrived == warmup:
                            window_from = now
                        if arrived == limit - 1:
                            window_to = now
                        if arrived == batch_next and batch + 1 < batches:
                            batch += 1
                            batch_from[batch] = now
                            batch_next = warmup - (-(batch + 1) * (limit - warmup) // batches)
                        requests_free -= 1
                        request = free_requests[u4(requests_free)]
                        requests[request].flow = flow
                        requests[request].index = indices[flow]
                        requests[request].position = arrived
                        requests[request].reply = UNFINISHED
                        requests[request].replied = np.nan
                        requests[request].outcome = OK
                        requests[request].attempts = 1
                        requests[request].undone = 0
                        requests[request].open = 1
                        requests[request].first_commit = NOBODY
                        requests[request].arrived = now
                        indices[flow] += 1
                        arrived += 1
                        so_far[flow, 0] += 1
                        frames_free -= 1
                        root = free_frames[u4(frames_free)]
                        frames[root].state = (
                            STEP if steps[flows[flow, 0]].policy == NOBODY else CALL
                        )
                        frames[root].step = flows[flow, 0]
                        frames[root].request = request
                        frames[root].role = ANSWER
                        if mishaps is not None:
                            frames[root].attempt = 0
                            frames[root].scope = NOBODY
                        urgent[urgent_tail & mask] = root
                        urgent_tail += 1
                    if status == CROWDED:
                        break
                    if arrived == limit:
                        arriving -= 1
                        break
                    turns[flow] += 1
                if flows[flow, 1] == TIMESTAMPS:
                    if turns[flow] == flows[flow, 5]:
                        arriving -= 1
                        break
                    wait = max(times[flows[flow, 4] + turns[flow]] - now, 0.0)
                else:
                    drawn = flows[flow, 3]

            if state == ENDED:
                role = frames[frame].role
                if mishaps is None or role < BRANCH:
                    free_frames[u4(frames_free)] = frame
                    frames_free += 1
                requests[request].open -= 1
                if requests[request].open > 0:
                    break
                commit = requests[request].first_commit
                while commit != NOBODY:  # the saga has succeeded: nothing will be undone
                    free_frames[u4(frames_free)] = commit
                    frames_free += 1
                    commit = frames[commit].next
                done += 1
                position = requests[request].position
                ended = now
                if mishaps is not None and requests[request].outcome == UNFINISHED:
                    ended = np.nan
                if keep:
                    out_whole[position, 0] = requests[request].flow
                    out_whole[position, 1] = requests[request].index
                    out_whole[position, 2] = requests[request].reply
                    out_whole[position, 3] = requests[request].outcome
                    out_whole[position, 4] = requests[request].attempts
                    out_whole[position, 5] = requests[request].undone
                    out_times[position, 0] = requests[request].arrived
                    out_times[position, 1] = requests[request].replied
                    out_times[position, 2] = ended
                else:
                    flow = requests[request].flow
                    outcome = requests[request].outcome
                    if now <= window_to and outcome == OK:
                        part = batch  # or one before, if this one begins just now
                        while part >= 0 and batch_from[part] == now:
                            part -= 1
                        if part >= 0:
                            sums[part, flow, A_THROUGHPUT] += 1
                    if position >= warmup:
                        part = (position - warmup) * batches // (limit - warmup)
                        response = requests[request].replied - requests[request].arrived
                        completion = ended - requests[request].arrived
                        sums[part, flow, A_COUNT] += 1
                        sums[part, flow, A_UNDONE] += requests[request].undone
                        sums[part, flow, A_FAILED] += outcome == FAILED
                        sums[part, flow, A_REJECTED] += outcome == REJECTED
                        if outcome != REJECTED and outcome != UNFINISHED:
                            sums[part, flow, A_ADMITTED] += 1
                            sums[part, flow, A_GAP] += now - requests[request].replied
                        if requests[request].reply == OK:
                            sums[part, flow, A_ANSWERED] += 1
                            sums[part, flow, A_RESPONSE] += response
                            extremes[part, flow, 0, 0] = min(extremes[part, flow, 0, 0], response)
                            extremes[part, flow, 0, 1] = max(extremes[part, flow, 0, 1], response)
                            histograms[part, flow, 0, bin_of(response)] += 1
                        if outcome == OK:
                            sums[part, flow, A_DONE] += 1
                            sums[part, flow, A_COMPLETION] += completion
                            extremes[part, flow, 1, 0] = min(extremes[part, flow, 1, 0], completion)
                            extremes[part, flow, 1, 1] = max(extremes[part, flow, 1, 1], completion)
                            histograms[part, flow, 1, bin_of(completion)] += 1
                free_requests[u4(requests_free)] = request
                requests_free += 1
                break

            # Time and chance

            if drawn >= 0:
                attempt = 0
                if state == ARRIVE:
                    index = turns[step]
                else:
                    index = requests[request].index
                    if mishaps is not None:
                        attempt = frames[frame].attempt
                wait = draw(table[drawn], values, seed, index, attempt, ahead, blocks)
                if share != 1.0:
                    wait *= share
                    frames[frame].half = wait
                if state == ARRIVE and flows[step, 1] == PROFILE:
                    wait = profile_gap(now, wait, times, factors, flows, step, periods[step])
            if mishaps is not None and way >= 0:
                loss = table[DRAWS * step + way].share
                if loss > 0.0:
                    chance = draw(table[DRAWS * step + way], values, seed,
                                  requests[request].index, frames[frame].attempt,
                                  ahead, blocks)  # fmt: skip
                    extra += draws.retransmission_ms(loss, chance)
                wait = wait * stretch + extra
            if wait == np.inf:
                arriving -= state == ARRIVE
                break
            if (
                wait > 0.0
                or state == ARRIVE
                or (mishaps is not None and (state == FALL or state == RISE))
            ):
                frames[frame].state = state
                if now + wait > now:
                    events += 1
                    heap_push(heap, heap_size, now + wait, events << FRAME_BITS | frame)
                    heap_size += 1
                else:
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                break

        if status != FINISHED:
            break

    clock[0] = now
    clock[1] = window_from
    clock[2] = window_to
    registers[G_URGENT_HEAD] = urgent_head
    registers[G_URGENT_TAIL] = urgent_tail
    registers[G_SOON_HEAD] = soon_head
    registers[G_SOON_TAIL] = soon_tail
    registers[G_HEAP] = heap_size
    registers[G_LIMITS] = limits_size
    registers[G_FRAMES] = frames_free
    registers[G_REQUESTS] = requests_free
    registers[G_EVENTS] = events
    registers[G_ARRIVED] = arrived
    registers[G_DONE] = done
    registers[G_BATCH] = batch
    registers[G_BATCH_NEXT] = batch_next
    registers[G_ARRIVING] = arriving
    registers[G_SERIES] = looks
    registers[G_EXPIRED] = expired
    return status


def tables(plan: Plan):
    """The plan as the arrays that the kernel takes, up to `services`."""
    values: list[float] = []

    def flat(distribution):
        if not distribution.values:
            return distribution.kind, (
                distribution.p0,
                distribution.p1,
                distribution.p2,
            )
        values.extend(distribution.values)
        count = len(distribution.values)
        return distribution.kind, (float(len(values) - count), float(count), 0.0)

    flow_draws = DRAWS * len(plan.steps)
    outage_draws = flow_draws + len(plan.flows)
    table = np.zeros(outage_draws + 2 * len(plan.outages), DRAW)
    likely = _likely(plan)
    rows_ahead: dict[Any, int] = {}

    def add(number, distribution, stream, purpose, often):
        kind, parameters = flat(distribution)
        place = 0
        if often and kind != draws.DETERMINISTIC:
            place = rows_ahead.setdefault((stream, purpose, distribution), len(rows_ahead) + 1)
        table[number] = kind, stream, purpose, place, *parameters, 0.0

    flows = np.zeros((len(plan.flows), 6), np.int64)
    times: list[float] = []
    factors: list[float] = []
    for i, flow in enumerate(plan.flows):
        number = flow_draws + i
        add(number, flow.gap, flow.stream, draws.ARRIVAL, True)
        own_times = flow.times_ms or flow.starts_ms
        flows[i] = flow.root, flow.arrivals, flow.size, number, len(times), len(own_times)
        times.extend(own_times)
        factors.extend(flow.factors or (0.0,) * len(own_times))

    fragile = plan.fragile

    def service_of(step):
        return plan.steps[step.parent].service

    policies_used: list[PolicyPlan] = []
    logs_used: list[LogPlan] = []
    tolls_used: list[TollPlan] = []
    steps = np.zeros(len(plan.steps), STEP_ROW)
    children: list[int] = []
    for i, step in enumerate(plan.steps):
        log = step.log
        if log is None and step.group != NONE and plan.groups[step.group].prefetch:
            log = HANDS_OVER
        apart = step.mode != LOCAL and (
            step.service in fragile or step.parent != NONE and service_of(step) in fragile
        )
        on_the_way = step.broker, step.link, step.delivery_link
        steps[i] = (
            step.service,
            step.mode,
            step.in_parallel,
            len(step.children),
            len(children),
            NOBODY if step.group == NONE else step.group,
            NOBODY if log is None else len(logs_used),
            step.undo is not None,
            NOBODY if step.policy is None else len(policies_used),
            apart,
            *(n if n in fragile else NOBODY for n in on_the_way),
            NOBODY if step.toll is None else len(tolls_used),
            not (
                apart
                or fragile.intersection(on_the_way)
                or step.errors > 0
                or step.loss > 0
                or step.delivery_loss > 0
                or step.toll is not None
                or log is not None
                or _sheds(plan.services[step.service])
            ),
            step.fails > 0,
        )
        policy = step.policy or NO_POLICY
        if step.policy is not None:
            policies_used.append(policy)
        if log is not None:
            logs_used.append(log)
        if step.toll is not None:
            tolls_used.append(step.toll)
        travel = step.network, step.ack, step.delivery
        copies = (log or HANDS_OVER).replication, NOTHING, NOTHING
        if log is not None and log.mirror_network is not None:
            copies = log.replication, log.mirror_network, log.lag
        undo = step.undo or NOTHING
        toll = step.toll or NO_TOLL
        losses = step.loss, step.loss, step.delivery_loss, (log or HANDS_OVER).mirror_loss
        happening = step.fails, step.errors, *losses, toll.fresh, toll.sampled
        decided = policy.backoff > DRAWN, step.partitions, policy.throttle, *happening
        sources = (step.work, *travel, *copies, undo, *travel, policy.limit, policy.pause,
                   *(CHANCE if something else NOTHING for something in decided))  # fmt: skip
        for which, purpose in enumerate(DRAWN_FOR):
            often = likely[i] and not D_UNDO_WORK <= which <= D_JITTER
            who = toll.trace if purpose == draws.SAMPLED else step.stream
            add(DRAWS * i + which, sources[which], who, purpose, often)
        table["share"][DRAWS * i + D_FAILS : DRAWS * (i + 1)] = happening
        children.extend(step.children)

    rooms = len(plan.services) + plan.lanes
    resources = np.zeros(rooms + len(plan.groups) + len(plan.outboxes), RESOURCE)
    resources["head"] = resources["tail"] = NOBODY
    resources["capacity"] = 1
    groups = np.zeros(len(plan.groups), GROUP)
    partitions = {step.group: step.partitions for step in plan.steps}
    for i, group in enumerate(plan.groups):
        lanes = group.first_lane, group.lanes, partitions.get(i, 0)  # 0: no step uses it
        groups[i] = *lanes, group.prefetch, rooms + i, 0
        resources[rooms + i]["capacity"] = group.lanes * group.prefetch or 1
    outboxes = np.zeros(len(plan.outboxes), OUTBOX)
    for i, outbox in enumerate(plan.outboxes):
        places = rooms + len(plan.groups) + i
        outboxes[i] = (places, outbox.batch, outbox.waits, NOBODY, NOBODY, 0, 0, outbox.linger_ms)
        resources[places]["capacity"] = NOBODY if outbox.places == UNLIMITED else outbox.places
    ways = np.zeros(plan.lanes + len(plan.outboxes), WAY)
    ways["first"] = NOBODY
    logs = np.zeros(len(logs_used), LOG)
    shares: list[float] = []
    for i, log in enumerate(logs_used):
        logs[i] = (log.acks, log.mirror_network is not None,
                   NOBODY if log.mirror_link == NONE else log.mirror_link, log.deliveries,
                   log.idempotent, len(log.shares), len(shares),
                   NOBODY if log.outbox == NONE else log.outbox,
                   log.retention_ms, log.redelivery_ms)  # fmt: skip
        shares.extend(log.shares)
    tolls = np.zeros(len(tolls_used), TOLL)
    for i, toll in enumerate(tolls_used):
        for field in TOLL.names:
            tolls[field][i] = getattr(toll, field)
    for i, service in enumerate(plan.services):
        resources[i]["unlimited"] = service.workers == UNLIMITED
        resources[i]["capacity"] = service.workers
        resources[i]["limit"] = NOBODY if service.queue_limit == NO_LIMIT else service.queue_limit
        resources[i]["sheds_late"] = service.sheds_late
        resources[i]["patient_ms"] = service.patient_ms
        resources[i]["strict_ms"] = service.strict_ms
        resources[i]["sheds"] = _sheds(service)
    policy_rows = np.zeros(len(policies_used), POLICY)
    edges = np.zeros(len(policies_used), EDGE)
    for i, policy in enumerate(policies_used):
        for field in set(POLICY.names) - {"ring"}:
            policy_rows[field][i] = getattr(policy, field)
        edges[i]["tokens"] = policy.budget
    rings = np.append(0, np.cumsum(policy_rows["window"]))
    policy_rows["ring"] = rings[:-1]
    mishaps = None
    used = policies_used or plan.outages or not steps["plain"].all()
    if used or resources["sheds"].any() or _may_break_off(plan):
        mishaps = True
    parts = np.zeros(plan.first_group + len(plan.groups), PART)
    parts["workers"][: len(plan.services)] = [service.workers for service in plan.services]
    for column in ("first_inside", "last_inside", "head", "tail"):
        parts[column] = NOBODY
    outages = np.zeros(len(plan.outages), OUTAGE_ROW)
    windows: list[tuple[float, float]] = []
    outage_parts: list[int] = []
    for i, outage in enumerate(plan.outages):
        number = outage_draws + 2 * i
        drawn = outage.up is not None
        outages[i] = (len(windows), len(outage.windows), len(outage_parts), len(outage.parts), drawn,
                      outage.hangs, outage.instances, outage.instance, outage.drains, number)  # fmt: skip
        windows.extend(outage.windows)
        outage_parts.extend(outage.parts)
        if outage.up is not None and outage.down is not None:
            add(number, outage.up, outage.stream, draws.UP, False)
            add(number + 1, outage.down, outage.stream, draws.DOWN, False)
    return (
        flows,
        np.array([flow.period_ms for flow in plan.flows]),
        np.array(times, float),
        np.array(factors, float),
        steps,
        np.array(children, u4),
        outages,
        np.array(windows, float).reshape(-1, 2),
        np.array(outage_parts, u4),
        parts,
        mishaps,
        policy_rows,
        edges,
        groups,
        np.zeros(plan.lanes, u4),
        ways,
        logs,
        np.array(shares, float),
        outboxes,
        tolls,
        np.zeros(rings[-1], i8),
        table,
        np.array(values, float),
        resources,
        len(plan.services),
        plan.first_group,
    ), len(rows_ahead) + 1


def _sheds(service):
    """Whether a service turns work away when its turn comes."""
    return service.sheds_late or min(service.patient_ms, service.strict_ms) < np.inf


def _may_break_off(plan):
    """Whether the processing of a message can end with a call that is turned away."""
    for step in plan.steps:
        if step.mode == CALLED and plan.services[step.service].queue_limit != NO_LIMIT:
            while step.mode in (CALLED, LOCAL):
                step = plan.steps[step.parent]
            if step.mode == MESSAGE:
                return True
    return False


def _likely(plan):
    """Whether most requests of its flow reach each step, if nothing but its own work can fail."""
    reached: dict[int, float] = {}
    succeeds: dict[int, float] = {}
    for step in reversed(plan.steps):  # children have larger numbers
        sure = 1.0
        for child in step.children:
            reached[child] = 1.0 if step.in_parallel else sure
            sure *= succeeds[child] if plan.steps[child].mode != MESSAGE else 1.0
        succeeds[step.number] = (1.0 - step.fails) * sure
    share: dict[int, float] = {}
    for step in plan.steps:
        share[step.number] = 1.0
        if step.parent != NONE:
            parent = plan.steps[step.parent]
            share[step.number] = share[step.parent] * (1 - parent.fails) * reached[step.number]
    return [share[step.number] > 0.5 for step in plan.steps]


@dataclass
class Outcome:
    """What a run leaves behind: whole columns and times per request, or their streamed summary."""

    window_ms: tuple[float, float]
    arrived: int
    done: int
    whole: np.ndarray
    times: np.ndarray
    sums: np.ndarray
    histograms: np.ndarray
    extremes: np.ndarray
    batch_from_ms: np.ndarray
    services: np.ndarray
    steps: np.ndarray
    series_places: np.ndarray
    series_done: np.ndarray


def run(
    plan: Plan,
    requests: int,
    seed: int,
    warmup: int = 0,
    batches: int = 20,
    keep=True,
    progress=None,
    series_ms: float | None = None,
    crowd: int = 1 << 40,
) -> Outcome:
    """Run a plan to its end; `progress(arrived)` is called now and then.

    Raises Crowded where more than `crowd` requests are under way at once, TooFine where the time
    series would have more than MOST_SEEN rows, and MemoryError where more than 2^26 steps are under
    way.
    """
    static, drawn_ahead = tables(plan)
    flows, steps = static[0], static[4]
    children = max(len(step.children) for step in plan.steps)
    largest = 3 + max(children, *flows[:, 2], *(outbox.batch for outbox in plan.outboxes))
    capacity = 256
    while capacity < 4 * largest:
        capacity *= 2
    registers = np.zeros(16, np.int64)
    registers[G_BATCH], registers[G_BATCH_NEXT] = -1, warmup
    clock = np.array([0.0, np.inf, np.inf])
    counters = [
        np.zeros((drawn_ahead, AHEAD)),
        np.full(drawn_ahead, -1),
        np.zeros(len(flows), np.int64),
        np.zeros(len(flows), np.int64),
    ]
    pools = _pools(capacity, bool(plan.outages))
    pools[2][:capacity] = pools[4][:capacity] = np.arange(capacity)[::-1]
    registers[G_FRAMES] = registers[G_REQUESTS] = capacity
    processes = [(ARRIVE, FIRST_TIME, flow) for flow in range(len(flows))]
    processes += [(OUTAGE, FIRST_TIME, outage) for outage in range(len(plan.outages))]
    for number, process in enumerate(processes):  # each of them a process of its own
        registers[G_FRAMES] -= 1
        frame = pools[2][registers[G_FRAMES]]
        for name, value in zip(("state", "role", "step"), process, strict=True):
            pools[0][name][frame] = value
        pools[7][number] = frame
    registers[G_URGENT_TAIL] = len(processes)
    registers[G_ARRIVING] = len(flows)
    rows, streamed = (requests, 0) if keep else (0, batches)
    outputs: list[Any] = [
        np.zeros((rows, 6), np.int64),
        np.zeros((rows, 3)),
        np.zeros((streamed, len(flows), 11)),
        np.zeros((streamed, len(flows), 2, BINS), np.int64),
        np.tile([np.inf, -np.inf], (streamed, len(flows), 2, 1)),
        np.zeros(batches + 1),
        np.zeros(len(plan.services), SERVICE_RECORD),
        np.zeros(len(steps), STEP_RECORD),
    ]
    places = len(plan.services) + plan.lanes + len(plan.groups)
    looks = min(1024, MOST_SEEN // places) if series_ms else 0
    series: list[Any] = [
        float(series_ms or np.inf),
        np.zeros((looks, places, 2), np.int64),
        np.zeros((looks, len(flows), 3), np.int64),
        np.zeros((len(flows), 3), np.int64),
    ]
    settings = (requests, warmup, seed, batches, largest, PAUSE_AFTER, crowd)
    while True:
        status = kernel(*static, *settings, registers, clock, *counters, *pools, *series, *outputs)
        if status == FINISHED:
            break
        if status == CROWDED:
            raise Crowded(int(registers[G_ARRIVED]))
        if status == FULL:
            if 2 * capacity > MAX_FRAMES:
                raise MemoryError(
                    f"{plan.name}: {MAX_FRAMES:,} steps are under way at once after "
                    f"{registers[G_ARRIVED]:,} requests; the load is far above the capacity"
                )
            pools = _grown(pools, registers, capacity, bool(plan.outages))
            capacity *= 2
        if status == SERIES_FULL:
            looks = len(series[1])
            more = min(looks, MOST_SEEN // places - looks)
            if more == 0:
                raise TooFine
            series[1:3] = [
                np.concatenate([part, np.zeros_like(part[:more])]) for part in series[1:3]
            ]
        if progress is not None:
            progress(int(registers[G_ARRIVED]))
    outputs[5][batches] = clock[2]
    _note_unfinished(pools, registers, outputs, (requests, warmup, batches))
    return Outcome(
        (clock[1], clock[2]),
        int(registers[G_ARRIVED]),
        int(registers[G_DONE]),
        *outputs,
        *(part[: registers[G_SERIES]] for part in series[1:3]),
    )


def _note_unfinished(pools, registers, outputs, settings):
    """Requests that nothing will end any more (workers that wait for each other) are counted too."""
    limit, warmup, batches = settings
    whole, times, sums = outputs[:3]
    under_way = np.ones(len(pools[3]), bool)
    under_way[pools[4][: registers[G_REQUESTS]]] = False
    rows = pools[3][under_way]
    if len(whole):
        columns = [rows[name] for name in ("flow", "index", "reply", "attempts", "undone")]
        columns.insert(3, np.full(len(rows), UNFINISHED))
        whole[rows["position"]] = np.column_stack(columns)
        never = np.full(len(rows), np.nan)
        times[rows["position"]] = np.column_stack([rows["arrived"], rows["replied"], never])
    else:
        rows = rows[rows["position"] >= warmup]
        part = (rows["position"] - warmup) * batches // (limit - warmup)
        np.add.at(sums, (part, rows["flow"], A_COUNT), 1)


def _pools(capacity, fragile):
    """Room for `capacity` frames and requests, for their events and their queues."""
    pools = [
        _lined_up(capacity, FRAME),
        np.zeros(capacity if fragile else 1, EXPOSURE),
        np.zeros(capacity, u4),
        _lined_up(capacity, REQUEST),
        np.zeros(capacity, u4),
        np.zeros(capacity, EVENT),
        np.zeros(capacity, EVENT),
        np.zeros(8 * capacity, u4),
        np.zeros(8 * capacity, u4),
    ]
    return pools


def _lined_up(rows, dtype):
    """Zeros that begin where a cache line of 64 bytes begins."""
    raw = np.zeros(rows * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + rows * dtype.itemsize].view(dtype)


def _grown(pools, registers, capacity, fragile):
    """The same content with twice the room."""
    larger = _pools(2 * capacity, fragile)
    for old, new in zip(pools[:7], larger[:7], strict=True):
        new[: len(old)] = old
    for stack, free in ((larger[2], G_FRAMES), (larger[4], G_REQUESTS)):
        stack[registers[free] : registers[free] + capacity] = np.arange(capacity, 2 * capacity)[
            ::-1
        ]
        registers[free] += capacity
    for ring, head in ((7, G_URGENT_HEAD), (8, G_SOON_HEAD)):
        waiting = registers[head + 1] - registers[head]
        places = (registers[head] + np.arange(waiting)) % len(pools[ring])
        larger[ring][:waiting] = pools[ring][places]
        registers[head], registers[head + 1] = 0, waiting
    return larger
