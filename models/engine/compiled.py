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

import numba
import numpy as np
from numba.extending import register_jitable

from models.engine import draws
from models.engine.plan import (
    LOCAL,
    MESSAGE,
    NO_LIMIT,
    PROFILE,
    TIMESTAMPS,
    UNLIMITED,
    Plan,
)
from models.engine.reference import FAILED, OK, REJECTED

HERE = Path(__file__).parent


def _cache_folder():
    """A place for the machine code that depends on everything that is compiled into it.

    numba looks only at the file of the function itself, so a change in `draws.py` would go unseen.
    """
    sources = b"".join(
        (HERE / name).read_bytes() for name in ("draws.py", "plan.py", "compiled.py")
    )
    return str(HERE / "__pycache__" / f"kernel-{hashlib.sha256(sources).hexdigest()[:16]}")


def compiled(function):
    """Compile a function, keeping the machine code for the next process."""
    previous = numba.config.CACHE_DIR
    if os.access(HERE, os.W_OK):
        numba.config.CACHE_DIR = _cache_folder()
    try:
        return numba.njit(cache=True, nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = previous


for function in (
    draws.philox,
    draws.uniforms,
    draws.log,
    draws.exp,
    draws.normal_quantile,
    draws.sample,
    draws.profile_gap,
):
    register_jitable(function)

# States, in the order of the reference's methods.
ARRIVE, STEP, GRANTED, SERVE, WORKED, CHILDREN, JOINED, SERVED, STEP_DONE = range(9)
ASK, PUBLISHED, ACKNOWLEDGED, ANSWERED, BRANCH_ENDED = range(9, 14)
DELIVER, DELIVERED, LANE_GRANTED = range(14, 17)
UNDO, UNDO_AT_BROKER, UNDO_SENT, UNDO_ARRIVED, UNDO_GRANTED, UNDO_WORKED, ENDED = range(17, 24)

# Whom a frame answers to.
ANSWER, SEQUENCE, BRANCH, MESSAGE_STEP, UNDOING = range(5)

# Columns of a frame: whole numbers and times.
STATE, AT_STEP, REQUEST, ROLE, PARENT, NEXT, CHILD, PENDING, RESULT, LANE = range(10)
STARTED, ASKED, HALF = range(3)

# Columns of a request: whole numbers and times.
(
    FLOW,
    INDEX,
    POSITION,
    REPLY,
    OUTCOME,
    ATTEMPTS,
    UNDONE,
    OPEN,
    FIRST_COMMIT,
    LAST_COMMIT,
) = range(10)
ARRIVED, REPLIED = range(2)

# Columns of a step's table, of its distributions, and of a resource (workers or lane).
S_SERVICE, S_MODE, S_PARALLEL, S_CHILDREN, S_FIRST_CHILD, S_STREAM = range(6)
S_PARTITIONS, S_LANES, S_FIRST_LANE, S_UNDOES, S_KIND = range(6, 11)
D_WORK, D_NETWORK, D_ACK, D_DELIVERY, D_UNDO = range(5)
R_CAPACITY, R_USERS, R_HEAD, R_TAIL, R_LENGTH, R_LIMIT, R_CALLS = range(7)

# Columns of what is measured, per service and per step.
M_HELD, M_WORKING, M_WAIT, M_MAX_QUEUE, M_HANDLED, M_REJECTED = range(6)
N_HANDLED, N_FAILED, N_REJECTED, N_UNDONE, N_WAIT, N_HELD = range(6)

# Columns of the streamed summary, per batch and flow.
(A_COUNT, A_ANSWERED, A_RESPONSE, A_DONE, A_COMPLETION, A_ADMITTED, A_GAP, A_FAILED, A_REJECTED,
 A_UNDONE, A_THROUGHPUT) = range(11)  # fmt: skip

FRAME_BITS = 26  # a heap key is the number of the event, then the number of the frame
MAX_FRAMES = 1 << FRAME_BITS
BINS_PER_OCTAVE = 128
LOWEST = (1023 - 10) * BINS_PER_OCTAVE  # bins start at 2^-10 ms
BINS = 44 * BINS_PER_OCTAVE

# What the kernel remembers between two calls.
G_URGENT_HEAD, G_URGENT_TAIL, G_SOON_HEAD, G_SOON_TAIL, G_HEAP, G_FRAMES, G_REQUESTS = range(7)
G_EVENTS, G_ARRIVED, G_DONE, G_BATCH, G_BATCH_NEXT, G_FRAME = range(7, 13)

FINISHED, FULL, PAUSED = range(3)
PAUSE_AFTER = 5_000_000  # events, about a second: time to show progress or to be interrupted


@numba.njit
def heap_push(times, keys, size, time, key):
    """Put an event into the heap of `size` events, ordered by time, then by number."""
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if times[parent] < time or (times[parent] == time and keys[parent] < key):
            break
        times[i] = times[parent]
        keys[i] = keys[parent]
        i = parent
    times[i] = time
    keys[i] = key


@numba.njit
def heap_pop(times, keys, size):
    """Take the first event out; afterwards `size` - 1 are left."""
    last = size - 1
    time = times[last]
    key = keys[last]
    i = 0
    child = 1
    while child < last:
        right = child + 1
        if right < last and (
            times[right] < times[child]
            or (times[right] == times[child] and keys[right] < keys[child])
        ):
            child = right
        if time < times[child] or (time == times[child] and key < keys[child]):
            break
        times[i] = times[child]
        keys[i] = keys[child]
        i = child
        child = 2 * i + 1
    times[i] = time
    keys[i] = key


@numba.njit
def draw(steps, values, distributions, seed, step, which, index, purpose):
    """A number from one of a step's distributions."""
    kind = steps[step, S_KIND + which]
    if kind == draws.DETERMINISTIC:
        return distributions[step, which, 0]
    if kind == draws.EXPONENTIAL:  # as in `sample`, but without a call
        first, _ = draws.uniforms(seed, steps[step, S_STREAM], index, 0, purpose, 0)
        return -distributions[step, which, 0] * draws.log(first)
    return draws.sample(
        kind,
        distributions[step, which, 0],
        distributions[step, which, 1],
        distributions[step, which, 2],
        values,
        seed,
        steps[step, S_STREAM],
        index,
        0,
        purpose,
    )


@numba.njit
def queue_for(resources, resource, frames, frame):
    """Stand at the end of the queue for a worker or a lane."""
    frames[frame, NEXT] = -1
    if resources[resource, R_HEAD] < 0:
        resources[resource, R_HEAD] = frame
    else:
        frames[resources[resource, R_TAIL], NEXT] = frame
    resources[resource, R_TAIL] = frame
    resources[resource, R_LENGTH] += 1


@numba.njit
def grant(resources, resource, frames):
    """Give a free place to the head of the queue; the frame that has it now, or -1."""
    if resources[resource, R_HEAD] < 0 or (
        resources[resource, R_USERS] == resources[resource, R_CAPACITY]
    ):
        return -1
    frame = resources[resource, R_HEAD]
    resources[resource, R_HEAD] = frames[frame, NEXT]
    resources[resource, R_LENGTH] -= 1
    resources[resource, R_USERS] += 1
    return frame


@numba.njit
def in_window(started, now, window_from, window_to):
    """The part of the time from `started` to `now` that lies in the measured window."""
    return max(min(now, window_to) - max(started, window_from), 0.0)


@numba.njit
def bin_of(ms):
    """The histogram bin of a time: the leading bits of its binary form, 128 bins an octave."""
    leading = np.float64(ms).view(np.int64) >> 45
    return min(max(leading - LOWEST, 0), BINS - 1)


@compiled
def kernel(
    flows,  # (flows, 6) whole: root, arrivals, size, stream, first time, number of times
    gaps,  # (flows, 5): kind, p0, p1, p2 of the gap's distribution, period of the profile
    times,  # all timestamps, or starts of profile parts
    factors,  # the factors of profile parts
    steps,  # (steps, 15) whole, see S_*
    children,  # numbers of child steps
    fails,  # (steps,) probability
    distributions,  # (steps, 5, 3) parameters
    values,  # observed values of empirical distributions
    resources,  # (services + lanes, 7), see R_*
    services,  # number of services
    limit,  # requests
    warmup,  # requests not counted
    seed,
    batches,
    largest,  # frames that one state can need
    pause_after,  # events after which to come back to Python
    registers,  # see G_*
    clock,  # now, start and end of the measured window
    groups,  # (flows,) groups of arrivals so far
    indices,  # (flows,) requests so far
    frames,
    clocks,
    free_frames,  # a stack of free rows
    requests,
    stamps,
    free_requests,
    heap_times,
    heap_keys,
    urgent,
    soon,
    out_whole,  # (requests or 0, 6): flow, index, answer, outcome, attempts, undone
    out_times,  # (requests or 0, 3): arrived, replied, completed
    sums,  # (batches, flows, 11), see A_*
    histograms,  # (batches, flows, 2, BINS): responses, completions
    batch_from,  # (batches + 1,) start of each batch
    by_service,  # (services, 6), see M_*
    by_step,  # (steps, 6), see N_*
):
    """Run until everything is done (FINISHED), rows run out (FULL) or it is time to PAUSE."""
    keep = len(out_whole) > 0
    mask = len(urgent) - 1
    now = clock[0]
    window_from = clock[1]
    window_to = clock[2]
    urgent_head = registers[G_URGENT_HEAD]
    urgent_tail = registers[G_URGENT_TAIL]
    soon_head = registers[G_SOON_HEAD]
    soon_tail = registers[G_SOON_TAIL]
    heap_size = registers[G_HEAP]
    frames_free = registers[G_FRAMES]
    requests_free = registers[G_REQUESTS]
    events = registers[G_EVENTS]
    arrived = registers[G_ARRIVED]
    done = registers[G_DONE]
    batch = registers[G_BATCH]
    batch_next = registers[G_BATCH_NEXT]
    frame = registers[G_FRAME]
    resumed = frame >= 0
    pause_at = events + pause_after
    status = FINISHED

    while True:
        # What happens next
        if resumed:
            resumed = False
        elif urgent_head != urgent_tail:
            frame = urgent[urgent_head & mask]
            urgent_head += 1
        elif heap_size > 0 and heap_times[0] == now:
            frame = heap_keys[0] & (MAX_FRAMES - 1)
            heap_pop(heap_times, heap_keys, heap_size)
            heap_size -= 1
        elif soon_head != soon_tail:
            frame = soon[soon_head & mask]
            soon_head += 1
            if frame < 0:  # a place has been released
                frame = grant(resources, ~frame, frames)
                if frame >= 0:
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                continue
        elif heap_size > 0:
            now = heap_times[0]
            frame = heap_keys[0] & (MAX_FRAMES - 1)
            heap_pop(heap_times, heap_keys, heap_size)
            heap_size -= 1
        else:
            break

        if events > pause_at:
            status = PAUSED
            break
        state = frames[frame, STATE]
        while True:  # until this frame has to wait
            if frames_free < largest or requests_free < largest:
                frames[frame, STATE] = state
                status = FULL
                break

            wait = 0.0  # how long this frame pauses before it goes on with `state`
            step = frames[frame, AT_STEP]
            request = frames[frame, REQUEST]

            # Steps: workers, work, children

            if state == STEP:
                service = steps[step, S_SERVICE]
                if steps[step, S_MODE] == LOCAL or resources[service, R_CAPACITY] == UNLIMITED:
                    state = SERVE
                elif (
                    resources[service, R_LIMIT] != NO_LIMIT
                    and steps[step, S_MODE] != MESSAGE
                    and resources[service, R_USERS] == resources[service, R_CAPACITY]
                    and resources[service, R_CALLS] >= resources[service, R_LIMIT]
                ):
                    if requests[request, POSITION] >= warmup:
                        by_step[step, N_REJECTED] += 1
                        by_service[service, M_REJECTED] += 1
                    frames[frame, RESULT] = REJECTED
                    state = STEP_DONE
                else:
                    clocks[frame, ASKED] = now
                    if steps[step, S_MODE] != MESSAGE:
                        resources[service, R_CALLS] += 1
                    if (
                        resources[service, R_USERS] < resources[service, R_CAPACITY]
                        and resources[service, R_HEAD] < 0
                        and urgent_head == urgent_tail
                        and soon_head == soon_tail
                        and (heap_size == 0 or heap_times[0] > now)
                    ):  # nothing else happens at this instant: go on at once
                        resources[service, R_USERS] += 1
                        state = GRANTED
                        continue
                    frames[frame, STATE] = GRANTED
                    queue_for(resources, service, frames, frame)
                    first = grant(resources, service, frames)
                    if first >= 0:
                        soon[soon_tail & mask] = first
                        soon_tail += 1
                    if resources[service, R_LENGTH] > by_service[service, M_MAX_QUEUE]:
                        by_service[service, M_MAX_QUEUE] = resources[service, R_LENGTH]
                    break

            elif state == GRANTED:
                service = steps[step, S_SERVICE]
                if steps[step, S_MODE] != MESSAGE:
                    resources[service, R_CALLS] -= 1
                if requests[request, POSITION] >= warmup:
                    by_step[step, N_WAIT] += now - clocks[frame, ASKED]
                    by_service[service, M_WAIT] += now - clocks[frame, ASKED]
                state = SERVE

            elif state == SERVE:
                clocks[frame, STARTED] = now
                wait = draw(steps, values, distributions, seed, step, D_WORK,
                            requests[request, INDEX], draws.WORK)  # fmt: skip
                state = WORKED

            elif state == WORKED:
                service = steps[step, S_SERVICE]
                by_service[service, M_WORKING] += in_window(
                    clocks[frame, STARTED], now, window_from, window_to
                )
                if fails[step] > 0.0 and (
                    draws.uniforms(
                        seed,
                        steps[step, S_STREAM],
                        requests[request, INDEX],
                        0,
                        draws.FAILS,
                        0,
                    )[0]
                    < fails[step]
                ):
                    frames[frame, RESULT] = FAILED
                    state = SERVED
                else:
                    if steps[step, S_UNDOES]:  # the local transaction commits
                        frames_free -= 1
                        undo = free_frames[frames_free]
                        frames[undo, STATE] = UNDO
                        frames[undo, AT_STEP] = step
                        frames[undo, REQUEST] = request
                        frames[undo, ROLE] = UNDOING
                        frames[undo, NEXT] = -1
                        if requests[request, OUTCOME] != OK:
                            requests[request, OPEN] += 1
                            urgent[urgent_tail & mask] = undo
                            urgent_tail += 1
                        elif requests[request, FIRST_COMMIT] < 0:
                            requests[request, FIRST_COMMIT] = undo
                            requests[request, LAST_COMMIT] = undo
                        else:
                            frames[requests[request, LAST_COMMIT], NEXT] = undo
                            requests[request, LAST_COMMIT] = undo
                    frames[frame, CHILD] = 0
                    frames[frame, RESULT] = OK
                    state = CHILDREN

            elif state == CHILDREN:
                count = steps[step, S_CHILDREN]
                if frames[frame, CHILD] == count:
                    state = SERVED
                elif steps[step, S_PARALLEL]:
                    for i in range(count):
                        frames_free -= 1
                        branch = free_frames[frames_free]
                        frames[branch, STATE] = ASK
                        frames[branch, AT_STEP] = children[steps[step, S_FIRST_CHILD] + i]
                        frames[branch, REQUEST] = request
                        frames[branch, ROLE] = BRANCH
                        frames[branch, PARENT] = frame
                        urgent[urgent_tail & mask] = branch
                        urgent_tail += 1
                    frames[frame, PENDING] = count
                    frames[frame, STATE] = JOINED
                    break
                else:
                    frames_free -= 1
                    child = free_frames[frames_free]
                    frames[child, AT_STEP] = children[
                        steps[step, S_FIRST_CHILD] + frames[frame, CHILD]
                    ]
                    frames[child, REQUEST] = request
                    frames[child, ROLE] = SEQUENCE
                    frames[child, PARENT] = frame
                    frames[frame, CHILD] += 1
                    frame = child
                    state = ASK

            elif state == JOINED:
                state = SERVED

            elif state == SERVED:
                service = steps[step, S_SERVICE]
                failed = frames[frame, RESULT] != OK
                local = steps[step, S_MODE] == LOCAL
                if not local:
                    by_service[service, M_HELD] += in_window(
                        clocks[frame, STARTED], now, window_from, window_to
                    )
                    if resources[service, R_CAPACITY] != UNLIMITED:
                        resources[service, R_USERS] -= 1
                        if resources[service, R_HEAD] >= 0:  # else nobody to give the place to
                            soon[soon_tail & mask] = ~service
                            soon_tail += 1
                if requests[request, POSITION] >= warmup:
                    by_step[step, N_HANDLED] += 1
                    by_step[step, N_FAILED] += failed
                    by_step[step, N_HELD] += now - clocks[frame, STARTED]
                    if not local:
                        by_service[service, M_HANDLED] += 1
                state = STEP_DONE

            elif state == STEP_DONE:
                role = frames[frame, ROLE]
                if role == SEQUENCE or role == BRANCH:
                    wait = clocks[frame, HALF]
                    state = ANSWERED
                else:
                    result = frames[frame, RESULT]
                    if role == ANSWER:
                        requests[request, REPLY] = result
                        stamps[request, REPLIED] = now
                    else:
                        if frames[frame, LANE] >= 0:
                            resources[frames[frame, LANE], R_USERS] -= 1
                            soon[soon_tail & mask] = ~frames[frame, LANE]
                            soon_tail += 1
                        if result == REJECTED:
                            result = FAILED
                    if result != OK and requests[request, OUTCOME] == OK:
                        requests[request, OUTCOME] = result
                        undo = requests[request, FIRST_COMMIT]
                        requests[request, FIRST_COMMIT] = -1
                        while undo >= 0:
                            requests[request, OPEN] += 1
                            urgent[urgent_tail & mask] = undo
                            urgent_tail += 1
                            undo = frames[undo, NEXT]
                    state = ENDED

            # Calls and messages

            elif state == ASK:
                half = 0.5 * draw(steps, values, distributions, seed, step, D_NETWORK,
                                  requests[request, INDEX], draws.NETWORK)  # fmt: skip
                clocks[frame, HALF] = half
                wait = half
                state = PUBLISHED if steps[step, S_MODE] == MESSAGE else STEP

            elif state == PUBLISHED:
                wait = draw(steps, values, distributions, seed, step, D_ACK,
                            requests[request, INDEX], draws.ACK)  # fmt: skip
                state = ACKNOWLEDGED

            elif state == ACKNOWLEDGED:
                frames_free -= 1
                message = free_frames[frames_free]
                frames[message, STATE] = DELIVER
                frames[message, AT_STEP] = step
                frames[message, REQUEST] = request
                frames[message, ROLE] = MESSAGE_STEP
                frames[message, LANE] = -1
                requests[request, OPEN] += 1
                urgent[urgent_tail & mask] = message
                urgent_tail += 1
                frames[frame, RESULT] = OK
                wait = clocks[frame, HALF]
                state = ANSWERED

            elif state == ANSWERED:
                if frames[frame, ROLE] == BRANCH:
                    frames[frame, STATE] = BRANCH_ENDED
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                    break
                result = frames[frame, RESULT]
                free_frames[frames_free] = frame
                frames_free += 1
                frame = frames[frame, PARENT]
                if result == OK:
                    state = CHILDREN
                else:
                    frames[frame, RESULT] = FAILED
                    state = SERVED

            elif state == BRANCH_ENDED:
                parent = frames[frame, PARENT]
                if frames[frame, RESULT] != OK:
                    frames[parent, RESULT] = FAILED
                free_frames[frames_free] = frame
                frames_free += 1
                frames[parent, PENDING] -= 1
                if frames[parent, PENDING] == 0:
                    soon[soon_tail & mask] = parent
                    soon_tail += 1
                break

            elif state == DELIVER:
                wait = 0.5 * draw(steps, values, distributions, seed, step, D_DELIVERY,
                                  requests[request, INDEX], draws.DELIVERY)  # fmt: skip
                state = DELIVERED

            elif state == DELIVERED:
                if steps[step, S_LANES] == 0:
                    state = STEP
                else:
                    partition = int(
                        steps[step, S_PARTITIONS]
                        * draws.uniforms(
                            seed,
                            steps[step, S_STREAM],
                            requests[request, INDEX],
                            0,
                            draws.PARTITION,
                            0,
                        )[0]
                    )
                    lane = services + steps[step, S_FIRST_LANE] + partition % steps[step, S_LANES]
                    clocks[frame, ASKED] = now
                    frames[frame, LANE] = lane
                    frames[frame, STATE] = LANE_GRANTED
                    queue_for(resources, lane, frames, frame)
                    first = grant(resources, lane, frames)
                    if first >= 0:
                        soon[soon_tail & mask] = first
                        soon_tail += 1
                    break

            elif state == LANE_GRANTED:
                if requests[request, POSITION] >= warmup:
                    by_step[step, N_WAIT] += now - clocks[frame, ASKED]
                    by_service[steps[step, S_SERVICE], M_WAIT] += now - clocks[frame, ASKED]
                state = STEP

            # Sagas: undo

            elif state == UNDO:
                wait = 0.5 * draw(steps, values, distributions, seed, step, D_NETWORK,
                                  requests[request, INDEX], draws.UNDO_NETWORK)  # fmt: skip
                state = UNDO_AT_BROKER if steps[step, S_MODE] == MESSAGE else UNDO_ARRIVED

            elif state == UNDO_AT_BROKER:
                wait = draw(steps, values, distributions, seed, step, D_ACK,
                            requests[request, INDEX], draws.UNDO_ACK)  # fmt: skip
                state = UNDO_SENT

            elif state == UNDO_SENT:
                wait = 0.5 * draw(steps, values, distributions, seed, step, D_DELIVERY,
                                  requests[request, INDEX], draws.UNDO_DELIVERY)  # fmt: skip
                state = UNDO_ARRIVED

            elif state == UNDO_ARRIVED:
                service = steps[step, S_SERVICE]
                if resources[service, R_CAPACITY] == UNLIMITED:
                    state = UNDO_GRANTED
                else:
                    frames[frame, STATE] = UNDO_GRANTED
                    queue_for(resources, service, frames, frame)
                    first = grant(resources, service, frames)
                    if first >= 0:
                        soon[soon_tail & mask] = first
                        soon_tail += 1
                    if resources[service, R_LENGTH] > by_service[service, M_MAX_QUEUE]:
                        by_service[service, M_MAX_QUEUE] = resources[service, R_LENGTH]
                    break

            elif state == UNDO_GRANTED:
                clocks[frame, STARTED] = now
                wait = draw(steps, values, distributions, seed, step, D_UNDO,
                            requests[request, INDEX], draws.UNDO_WORK)  # fmt: skip
                state = UNDO_WORKED

            elif state == UNDO_WORKED:
                service = steps[step, S_SERVICE]
                busy = in_window(clocks[frame, STARTED], now, window_from, window_to)
                by_service[service, M_HELD] += busy
                by_service[service, M_WORKING] += busy
                requests[request, UNDONE] += 1
                if requests[request, POSITION] >= warmup:
                    by_step[step, N_UNDONE] += 1
                if resources[service, R_CAPACITY] != UNLIMITED:
                    resources[service, R_USERS] -= 1
                    soon[soon_tail & mask] = ~service
                    soon_tail += 1
                state = ENDED

            # Requests and their arrivals

            elif state == ENDED:
                free_frames[frames_free] = frame
                frames_free += 1
                requests[request, OPEN] -= 1
                if requests[request, OPEN] > 0:
                    break
                commit = requests[request, FIRST_COMMIT]
                while commit >= 0:  # the saga has succeeded: nothing will be undone
                    free_frames[frames_free] = commit
                    frames_free += 1
                    commit = frames[commit, NEXT]
                done += 1
                position = requests[request, POSITION]
                if keep:
                    out_whole[position, 0] = requests[request, FLOW]
                    out_whole[position, 1] = requests[request, INDEX]
                    out_whole[position, 2] = requests[request, REPLY]
                    out_whole[position, 3] = requests[request, OUTCOME]
                    out_whole[position, 4] = requests[request, ATTEMPTS]
                    out_whole[position, 5] = requests[request, UNDONE]
                    out_times[position, 0] = stamps[request, ARRIVED]
                    out_times[position, 1] = stamps[request, REPLIED]
                    out_times[position, 2] = now
                else:
                    flow = requests[request, FLOW]
                    outcome = requests[request, OUTCOME]
                    if batch >= 0 and now <= window_to and outcome == OK:
                        sums[batch, flow, A_THROUGHPUT] += 1
                    if position >= warmup:
                        part = (position - warmup) * batches // (limit - warmup)
                        response = stamps[request, REPLIED] - stamps[request, ARRIVED]
                        completion = now - stamps[request, ARRIVED]
                        sums[part, flow, A_COUNT] += 1
                        sums[part, flow, A_UNDONE] += requests[request, UNDONE]
                        sums[part, flow, A_FAILED] += outcome == FAILED
                        sums[part, flow, A_REJECTED] += outcome == REJECTED
                        if outcome != REJECTED:
                            sums[part, flow, A_ADMITTED] += 1
                            sums[part, flow, A_GAP] += now - stamps[request, REPLIED]
                        if requests[request, REPLY] == OK:
                            sums[part, flow, A_ANSWERED] += 1
                            sums[part, flow, A_RESPONSE] += response
                            histograms[part, flow, 0, bin_of(response)] += 1
                        if outcome == OK:
                            sums[part, flow, A_DONE] += 1
                            sums[part, flow, A_COMPLETION] += completion
                            histograms[part, flow, 1, bin_of(completion)] += 1
                free_requests[requests_free] = request
                requests_free += 1
                break

            else:  # ARRIVE
                flow = step
                if frames[frame, ROLE] < 0:
                    frames[frame, ROLE] = 0
                else:
                    for _ in range(flows[flow, 2]):
                        if arrived == limit:
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
                        request = free_requests[requests_free]
                        requests[request, FLOW] = flow
                        requests[request, INDEX] = indices[flow]
                        requests[request, POSITION] = arrived
                        requests[request, OUTCOME] = OK
                        requests[request, ATTEMPTS] = 1
                        requests[request, UNDONE] = 0
                        requests[request, OPEN] = 1
                        requests[request, FIRST_COMMIT] = -1
                        stamps[request, ARRIVED] = now
                        indices[flow] += 1
                        arrived += 1
                        frames_free -= 1
                        root = free_frames[frames_free]
                        frames[root, STATE] = STEP
                        frames[root, AT_STEP] = flows[flow, 0]
                        frames[root, REQUEST] = request
                        frames[root, ROLE] = ANSWER
                        urgent[urgent_tail & mask] = root
                        urgent_tail += 1
                    if arrived == limit:
                        break
                    groups[flow] += 1
                first_time = flows[flow, 4]
                last_time = first_time + flows[flow, 5]
                if flows[flow, 1] == TIMESTAMPS:
                    if groups[flow] == flows[flow, 5]:
                        break
                    wait = max(times[first_time + groups[flow]] - now, 0.0)
                else:
                    wait = draws.sample(
                        int(gaps[flow, 0]),
                        gaps[flow, 1],
                        gaps[flow, 2],
                        gaps[flow, 3],
                        values,
                        seed,
                        flows[flow, 3],
                        groups[flow],
                        0,
                        draws.ARRIVAL,
                    )
                    if flows[flow, 1] == PROFILE:
                        wait = draws.profile_gap(
                            now,
                            wait,
                            times[first_time:last_time],
                            factors[first_time:last_time],
                            gaps[flow, 4],
                        )
                if wait == np.inf:
                    break
                frames[frame, STATE] = ARRIVE
                if now + wait > now:
                    events += 1
                    heap_push(
                        heap_times,
                        heap_keys,
                        heap_size,
                        now + wait,
                        events << FRAME_BITS | frame,
                    )
                    heap_size += 1
                else:
                    soon[soon_tail & mask] = frame
                    soon_tail += 1
                break

            if wait > 0.0:
                frames[frame, STATE] = state
                if now + wait > now:
                    events += 1
                    heap_push(
                        heap_times,
                        heap_keys,
                        heap_size,
                        now + wait,
                        events << FRAME_BITS | frame,
                    )
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
    registers[G_FRAMES] = frames_free
    registers[G_REQUESTS] = requests_free
    registers[G_EVENTS] = events
    registers[G_ARRIVED] = arrived
    registers[G_DONE] = done
    registers[G_BATCH] = batch
    registers[G_BATCH_NEXT] = batch_next
    registers[G_FRAME] = -1 if status == FINISHED else frame
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

    flows = np.zeros((len(plan.flows), 6), np.int64)
    gaps = np.zeros((len(plan.flows), 5))
    times: list[float] = []
    factors: list[float] = []
    for i, flow in enumerate(plan.flows):
        kind, parameters = flat(flow.gap)
        own_times = flow.times_ms or flow.starts_ms
        flows[i] = (
            flow.root,
            flow.arrivals,
            flow.size,
            flow.stream,
            len(times),
            len(own_times),
        )
        gaps[i] = kind, *parameters, flow.period_ms
        times.extend(own_times)
        factors.extend(flow.factors or (0.0,) * len(own_times))

    steps = np.zeros((len(plan.steps), 15), np.int64)
    distributions = np.zeros((len(plan.steps), 5, 3))
    children: list[int] = []
    for i, step in enumerate(plan.steps):
        parts = [
            step.work,
            step.network,
            step.ack,
            step.delivery,
            step.undo or step.work,
        ]
        flattened = [flat(part) for part in parts]
        steps[i] = (
            step.service,
            step.mode,
            step.in_parallel,
            len(step.children),
            len(children),
            step.stream,
            step.partitions,
            step.lanes,
            step.first_lane,
            step.undo is not None,
            *(kind for kind, _ in flattened),
        )
        distributions[i] = [parameters for _, parameters in flattened]
        children.extend(step.children)

    resources = np.zeros((len(plan.services) + plan.lanes, 7), np.int64)
    resources[:, (R_HEAD, R_TAIL)] = -1
    for i, service in enumerate(plan.services):
        resources[i, R_CAPACITY] = service.workers
        resources[i, R_LIMIT] = service.queue_limit
    resources[len(plan.services) :, R_CAPACITY] = 1
    return (
        flows,
        gaps,
        np.array(times, float),
        np.array(factors, float),
        steps,
        np.array(children, np.int64),
        np.array([step.fails for step in plan.steps]),
        distributions,
        np.array(values, float),
        resources,
        len(plan.services),
    )


@dataclass
class Outcome:
    """What a run leaves behind: whole columns and times per request, or their streamed summary."""

    now_ms: float
    window_ms: tuple[float, float]
    arrived: int
    done: int
    whole: np.ndarray
    times: np.ndarray
    sums: np.ndarray
    histograms: np.ndarray
    batch_from_ms: np.ndarray
    services: np.ndarray
    steps: np.ndarray


def run(
    plan: Plan,
    requests: int,
    seed: int,
    warmup: int = 0,
    batches: int = 20,
    keep=True,
    progress=None,
) -> Outcome:
    """Run a plan to its end; `progress(arrived)` is called now and then.

    Raises MemoryError where more than 2^26 steps are under way at once: an overload without limit.
    """
    static = tables(plan)
    flows, steps = static[0], static[4]
    largest = 2 + max(max(len(step.children) for step in plan.steps), *flows[:, 2])
    capacity = 256
    while capacity < 4 * largest:
        capacity *= 2
    registers = np.zeros(13, np.int64)
    registers[G_BATCH], registers[G_BATCH_NEXT], registers[G_FRAME] = -1, warmup, -1
    clock = np.array([0.0, np.inf, np.inf])
    counters = [np.zeros(len(flows), np.int64), np.zeros(len(flows), np.int64)]
    pools = _pools(capacity)
    pools[2][:capacity] = pools[5][:capacity] = np.arange(capacity)[::-1]
    registers[G_FRAMES] = registers[G_REQUESTS] = capacity
    urgent = pools[8]
    for flow in range(len(flows)):  # every flow's arrivals are a process of their own
        registers[G_FRAMES] -= 1
        frame = pools[2][registers[G_FRAMES]]
        pools[0][frame, [STATE, AT_STEP, ROLE]] = ARRIVE, flow, -1
        urgent[flow] = frame
    registers[G_URGENT_TAIL] = len(flows)
    rows, streamed = (requests, 0) if keep else (0, batches)
    outputs = [
        np.zeros((rows, 6), np.int64),
        np.zeros((rows, 3)),
        np.zeros((streamed, len(flows), 11)),
        np.zeros((streamed, len(flows), 2, BINS), np.int64),
        np.zeros(batches + 1),
        np.zeros((len(plan.services), 6)),
        np.zeros((len(steps), 6)),
    ]
    settings = (requests, warmup, seed, batches, largest, PAUSE_AFTER)
    while True:
        status = kernel(*static, *settings, registers, clock, *counters, *pools, *outputs)
        if status == FINISHED:
            break
        if status == FULL:
            if 2 * capacity > MAX_FRAMES:
                raise MemoryError(
                    f"{plan.name}: {MAX_FRAMES:,} steps are under way at once after "
                    f"{registers[G_ARRIVED]:,} requests; the load is far above the capacity"
                )
            pools = _grown(pools, registers, capacity)
            capacity *= 2
        if progress is not None:
            progress(int(registers[G_ARRIVED]))
    outputs[4][batches] = clock[2]
    return Outcome(
        clock[0],
        (clock[1], clock[2]),
        int(registers[G_ARRIVED]),
        int(registers[G_DONE]),
        *outputs,
    )


def _pools(capacity):
    """Room for `capacity` frames and requests, for their events and their queues."""
    return [
        np.zeros((capacity, 10), np.int64),
        np.zeros((capacity, 3)),
        np.zeros(capacity, np.int64),
        np.zeros((capacity, 10), np.int64),
        np.zeros((capacity, 2)),
        np.zeros(capacity, np.int64),
        np.zeros(capacity),
        np.zeros(capacity, np.int64),
        np.zeros(8 * capacity, np.int64),
        np.zeros(8 * capacity, np.int64),
    ]


def _grown(pools, registers, capacity):
    """The same content with twice the room."""
    larger = _pools(2 * capacity)
    for old, new in zip(pools[:8], larger[:8], strict=True):
        new[:capacity] = old
    for stack, free in ((larger[2], G_FRAMES), (larger[5], G_REQUESTS)):
        stack[registers[free] : registers[free] + capacity] = np.arange(capacity, 2 * capacity)[
            ::-1
        ]
        registers[free] += capacity
    for ring, head in ((8, G_URGENT_HEAD), (9, G_SOON_HEAD)):
        waiting = registers[head + 1] - registers[head]
        places = (registers[head] + np.arange(waiting)) % len(pools[ring])
        larger[ring][:waiting] = pools[ring][places]
        registers[head], registers[head + 1] = 0, waiting
    return larger
