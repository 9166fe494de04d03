"""Spans put together to requests: who called whom, how often, and what is left of each as own work.

A *visit* is what a service does for one request at a time: a SERVER or CONSUMER span, or the first
span in a service where no such span was made. INTERNAL spans are part of the visit around them. A
CLIENT span below which nobody was seen is a visit as well, to whom it names, such as a database.

Intervals are compared inside one service only, where one clock made them, and lengths between
two; so that clocks that differ falsify nothing here.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.traces.reading import CLIENT, CONSUMER, PRODUCER, SERVER, Spans

MAX_DEPTH = 200  # spans inside each other; a system's steps nest to 100, with two spans each
LOCAL, CALL, MESSAGE = 1, 2, 3
_BITS = 18  # of a name's number: there are fewer than 2^18


@dataclass
class Forest:
    """Arrays with a row a span; rows are positions, -1: none; times in ns.

    `visit`: whether it is one; `unseen`: a visit known from its CLIENT span alone; `near`: the
    nearest visit above; `entry`: the first visit of its request; `edge`: the CLIENT or PRODUCER
    span by which a visit was reached; `mode`: LOCAL, CALL, MESSAGE, 0 for a first visit; `own`:
    own time; `path`: the place in its tree, the same for all visits at that place; `whole`: whether
    nothing is missing in its trace. `key` of a visit tells service, operation, mode and broker.
    `paths` has a row a place in a tree: the place above (-1: none), key, and which one of several
    of that key it is.
    """

    start: np.ndarray
    end: np.ndarray
    error: np.ndarray
    share: np.ndarray
    name: np.ndarray
    service: np.ndarray
    visit: np.ndarray
    unseen: np.ndarray
    near: np.ndarray
    entry: np.ndarray
    edge: np.ndarray
    mode: np.ndarray
    broker: np.ndarray
    own: np.ndarray
    caused: np.ndarray
    path: np.ndarray
    whole: np.ndarray
    counted: np.ndarray
    key: np.ndarray
    paths: np.ndarray
    dropped: Counter
    notes: Counter

    @property
    def length(self):
        return self.end - self.start


def assemble(spans: Spans) -> Forest:
    """Requests out of spans; what cannot be used is counted in `dropped`, what is odd in `notes`."""
    dropped: Counter = Counter(spans.dropped)
    notes: Counter = Counter()
    column: dict[str, Any] = {
        name: np.frombuffer(getattr(spans, name), dtype)
        for name, dtype in (
            ("trace", np.int64), ("span", np.uint64), ("above_trace", np.int64),
            ("above", np.uint64), ("link_trace", np.int64), ("link", np.uint64),
            ("start", np.int64), ("end", np.int64), ("kind", np.int8), ("error", np.int8),
            ("service", np.int32), ("name", np.int32), ("peer", np.int32), ("share", np.float64),
        )
    }  # fmt: skip
    kept = np.flatnonzero(column["service"] > 0)
    dropped["without a service name"] += len(spans) - len(kept)
    kept = kept[_first_of_each(column, kept, dropped)]
    c = {name: values[kept] for name, values in column.items()}
    more = np.frombuffer(spans.more_trace, np.int64), np.frombuffer(spans.more, np.uint64)
    up, missing, polls, batched = _parents(c, more, notes)
    up, alive, depth = _loops(up, dropped)
    dropped["that only fetched messages (receive)"] += int((polls & alive).sum())
    alive &= ~polls
    tops = alive & (up < 0)
    root = _tops(up)
    whole = _whole(c, tops, missing, up, notes)[root] & alive
    deep = np.zeros(len(up), bool)
    deep[root[depth > MAX_DEPTH]] = True
    dropped["nested too deeply"] += int(deep[root].sum())
    alive &= ~deep[root]
    whole &= alive
    depth[~alive] = 0
    counted = whole | (alive & ~missing[root])  # its request was seen to begin
    return _visits(c, up, alive, depth, whole, counted, batched, dropped, notes)


def _first_of_each(c, kept, dropped):
    """Which rows have an id that no row before them has in its trace."""
    order = np.lexsort((c["span"][kept], c["trace"][kept]))
    rows = kept[order]
    again = np.zeros(len(rows), bool)
    again[1:] = (np.diff(c["trace"][rows]) == 0) & (c["span"][rows][1:] == c["span"][rows][:-1])
    same = again.copy()
    for name in ("start", "end", "service", "kind"):
        same[1:] &= c[name][rows][1:] == c[name][rows][:-1]
    dropped["exported twice"] += int(same.sum())
    dropped["with the id of another span"] += int((again & ~same).sum())
    return np.sort(order[~again])


def _parents(c, more, notes):
    """The row above each row or -1, and three marks.

    Whether it has a parent that is not in the file; whether it only fetched messages: a CONSUMER
    span at the top, all of whose children have links to where they were sent; whether it is a
    message that was consumed together with another, by a further link.
    """
    ids, number = np.unique(c["span"], return_inverse=True)
    keys = c["trace"] * len(ids) + number
    order = np.argsort(keys)
    keys = keys[order]

    def rows(trace, span):
        if not len(ids):
            return np.zeros(0, np.int64)
        at = np.searchsorted(ids, span).clip(max=len(ids) - 1)
        key = trace * len(ids) + at
        place = np.searchsorted(keys, key).clip(max=len(keys) - 1)
        found = (trace >= 0) & (ids[at] == span) & (keys[place] == key)
        return np.where(found, order[place], -1)

    up = np.where(c["above"] > 0, rows(c["above_trace"], c["above"]), -1)
    missing = (c["above"] > 0) & (up < 0)
    linked = np.where(c["link_trace"] >= 0, rows(c["link_trace"], c["link"]), -1)
    sent = (linked >= 0) & (c["kind"] == CONSUMER) & (c["kind"][linked] == PRODUCER)
    by_link = (linked >= 0) & ((up < 0) | sent & (c["kind"][up] != PRODUCER))
    notes["reached by a link"] += int(by_link.sum())
    fetched = np.bincount(up[by_link & (up >= 0)], minlength=len(up)) > 0
    up = np.where(by_link, linked, up)
    left = np.bincount(up[up >= 0], minlength=len(up)) > 0
    polls = fetched & ~left & (up < 0) & (c["kind"] == CONSUMER)
    cut = (c["link_trace"] >= 0) & (linked < 0) & (up < 0) & (c["kind"] == CONSUMER)
    notes["messages whose sender is not in the file (a flow of their own)"] += int(cut.sum())
    batched = np.zeros(len(up), bool)
    others = rows(*more)
    batched[others[others >= 0]] = True
    return up, missing & ~by_link, polls, batched


def _tops(up):
    """The topmost row above each (itself, if there is none), where nothing loops."""
    above = np.where(up < 0, np.arange(len(up)), up)
    while not np.array_equal(further := above[above], above):
        above = further
    return above


def _loops(up, dropped):
    """Take out rows that are above themselves, and all below them: (up, alive, depth)."""
    count = len(up)
    above = np.where(up < 0, np.arange(count), up)
    depth = (up >= 0).astype(np.int64)
    for _ in range(max(count, 1).bit_length()):
        depth = np.minimum(depth + depth[above], count + 1)
        above = above[above]
    alive = up[above] < 0 if count else np.zeros(0, bool)
    dropped["in a loop of parents"] += int((~alive).sum())
    return np.where(alive, up, -1), alive, np.where(alive, depth, 0)


def _whole(c, tops, missing, up, notes):
    """Which topmost rows have a trace in which nothing is missing that was seen to be there."""
    trace = c["trace"]
    count = int(trace.max(initial=-1)) + 1
    begun = np.bincount(trace[tops & ~missing], minlength=count)
    orphans = np.bincount(trace[tops & missing], minlength=count)
    alone = (begun == 0) & (orphans == 1)  # whoever called was not traced, or not exported
    one = np.flatnonzero(tops & missing & alone[trace])
    within = np.isin(c["kind"][one], (CLIENT, PRODUCER))  # a service, whose own span was lost
    alone[trace[one[within | _mostly_called(c, one, up)]]] = False
    notes["traces whose caller is not in the file"] += int(alone.sum())
    notes["traces with parents missing"] += int(((orphans > 0) & ~alone).sum())
    notes["traces of which the beginning is missing"] += int(((begun == 0) & (orphans > 1)).sum())
    return ((orphans == 0) | alone)[trace] & tops if count else np.zeros(0, bool)


def _mostly_called(c, rows, up):
    """Which rows do what has a caller in the file more often than not: there, it was lost."""
    what, number = np.unique(
        c["service"].astype(np.int64) << _BITS | c["name"], return_inverse=True
    )
    called = np.bincount(
        number[(up >= 0) & (c["service"] != c["service"][up])], minlength=len(what)
    )
    lost = np.bincount(number[rows], minlength=len(what))
    return (called > lost)[number[rows]]


def _visits(c, up, alive, depth, whole, counted, batched, dropped, notes):
    kind, service, error = c["kind"], c["service"], c["error"] > 0
    inner = alive & (up >= 0)
    kind_up = np.where(up >= 0, kind[up], 0)
    asks = np.isin(kind, (CLIENT, PRODUCER))
    asked = np.isin(kind_up, (CLIENT, PRODUCER))
    served = np.isin(kind, (SERVER, CONSUMER))
    visit = alive & np.where(up < 0, ~asks, (service != service[up]) | (served & asked))
    rows = np.argsort(depth, kind="stable")
    levels = np.searchsorted(depth[rows], np.arange(1, depth.max(initial=0) + 2))
    below = np.zeros(len(up), bool)  # whether a visit is somewhere below
    for low, high in reversed(list(zip(levels, levels[1:], strict=False))):
        at = rows[low:high]
        at = at[visit[at] | below[at]]
        below[up[at]] = True
    leaf = inner & asks & ~visit & ~below & (kind_up != CLIENT)
    unseen = leaf & (kind == CLIENT) & (c["peer"] > 0)
    answered = np.unique(c["peer"][unseen & ~error])  # who is never seen itself, but answers
    unseen &= ~error | np.isin(c["peer"], answered)
    lost = leaf & (kind == CLIENT) & error & ~unseen
    notes["calls that failed and left no span where they went"] += int(lost.sum())
    unnamed = leaf & (kind == CLIENT) & ~unseen & ~lost
    notes["calls of which nothing says where they went (part of the caller's work)"] += int(
        unnamed.sum()
    )
    unread = leaf & (kind == PRODUCER)
    notes["messages consumed together with another (the work counts with that one)"] += int(
        (unread & batched).sum()
    )
    notes["messages whose consumer is not in the file (part of the sender's work)"] += int(
        (unread & ~batched).sum()
    )
    visit = visit | unseen
    service = np.where(unseen, c["peer"], service)
    near = up.copy()
    while len(at := np.flatnonzero((near >= 0) & ~visit[near])):
        near[at] = up[near[at]]
    entry = _tops(np.where(visit, near, -1))
    edge = np.where(unseen, np.arange(len(up)), np.where(visit & asked, up, -1))
    sent = visit & (near >= 0) & ~unseen & ((kind == CONSUMER) | (asked & (kind_up == PRODUCER)))
    mode = np.where(sent, MESSAGE, np.where(service == service[near], LOCAL, CALL))
    mode = np.where(visit & (near >= 0), mode, 0)
    peer_up = np.where(edge >= 0, c["peer"][edge], 0)
    broker = np.where(sent, np.where(peer_up > 0, peer_up, c["peer"]), 0)
    stray = alive & ~visit & (near < 0) & leaf
    notes["calls that belong to no request"] += int(stray.sum())

    # Own time: what a visit has beside the intervals in which it waits for somebody.
    holds = (alive & asks & ~visit & (below | lost)) | unseen | ((mode == CALL) & (edge < 0))
    holds &= near >= 0
    own = c["end"] - c["start"] - _covered(np.flatnonzero(holds), near, c["start"], c["end"])
    key = service.astype(np.int64)
    key = key << _BITS | c["name"]
    key = (key << _BITS | broker) << 2 | mode
    retried = error & _called_again(
        np.flatnonzero(visit & (mode > 0) & (mode < MESSAGE)), near, key,
        *(np.where(edge >= 0, c[side][edge], c[side]) for side in ("start", "end")),
    )  # fmt: skip
    notes["errors after which the caller called again (retries are to be filled in)"] += int(
        retried.sum()
    )
    failing = np.flatnonzero(
        (error & ~retried & (mode > 0) & (mode < MESSAGE) | lost) & (near >= 0)
    )
    caused = error & ~retried & (np.bincount(near[failing], minlength=len(up)) == 0)

    # Places in trees.
    path, paths = _paths(np.flatnonzero(visit & whole), near, key, c["start"])
    skewed = (edge >= 0) & ~unseen & (mode == CALL) & (kind[edge] == CLIENT)
    skewed &= (c["start"] < c["start"][edge]) | (c["end"] > c["end"][edge])
    notes["spans outside the span of their caller (clocks differ, or a time limit)"] += int(
        skewed.sum()
    )
    dropped["in traces with parents missing"] += int((alive & ~whole).sum())
    return Forest(
        c["start"], c["end"], error, c["share"], c["name"], service, visit, unseen, near, entry,
        edge, mode, broker, own, caused, path, whole, counted, key, paths, dropped, notes,
    )  # fmt: skip


def _covered(rows, owner, start, end):
    """For each row, how much of its time the intervals of `rows` cover that belong to it."""
    mine = owner[rows]
    low = np.maximum(start[rows], start[mine])
    high = np.maximum(np.minimum(end[rows], end[mine]), low)
    order = np.lexsort((low, mine))
    mine, low, high = mine[order], low[order], high[order]
    covered = np.zeros(len(start), np.int64)
    if not len(rows):
        return covered
    by_end = np.lexsort((high, mine))
    rank = np.empty(len(rows), np.int64)
    rank[by_end] = np.arange(len(rows))
    latest = by_end[np.maximum.accumulate(rank)]  # of those so far that have the same owner
    reached = np.full(len(rows), np.iinfo(np.int64).min)
    same = mine[1:] == mine[:-1]
    reached[1:][same] = high[latest[:-1]][same]
    np.add.at(covered, mine, np.maximum(high - np.maximum(low, reached), 0))
    return covered


def _called_again(rows, near, key, start, end):
    """Which rows are followed by another of the same key for the same visit, not beside them."""
    order = rows[np.lexsort((start[rows], key[rows], near[rows]))]
    here, after = order[:-1], order[1:]
    same = (near[here] == near[after]) & (key[here] == key[after]) & (start[after] >= end[here])
    again = np.zeros(len(near), bool)
    again[here[same]] = True
    return again


def _paths(rows, near, key, start):
    """(the path of each row, a table of paths: the one above, key, which one of that key)."""
    path = np.full(len(near), -1, np.int64)
    order = rows[np.lexsort((start[rows], key[rows], near[rows]))]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (near[order][1:] != near[order][:-1]) | (key[order][1:] != key[order][:-1])
    first = np.flatnonzero(near[order] < 0)
    fresh[first] = True
    begins = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    which = np.arange(len(order)) - begins
    keys, key_number = np.unique(key[order], return_inverse=True)
    kinds, label = np.unique(
        key_number * (int(which.max(initial=0)) + 1) + which, return_inverse=True
    )
    example = np.zeros(len(kinds), np.int64)
    example[label] = np.arange(len(order))
    table: list[np.ndarray] = []
    known = 0
    left = np.ones(len(order), bool)
    while left.any():
        above = np.where(near[order] < 0, -1, path[near[order]])
        now = left & ((near[order] < 0) | (above >= 0))
        if not now.any():
            break  # below a row that is in no tree
        found, number = np.unique((above[now] + 1) * len(kinds) + label[now], return_inverse=True)
        path[order[now]] = known + number
        kind = example[found % len(kinds)]
        table.append(np.stack([found // len(kinds) - 1, key[order][kind], which[kind]], 1))
        known += len(found)
        left &= ~now
    return path, np.concatenate(table) if table else np.zeros((0, 3), np.int64)


def unpacked(key: int) -> tuple[int, int, int, int]:
    """(service, operation, broker, mode) of a visit's key."""
    mask = (1 << _BITS) - 1
    return key >> 2 * _BITS + 2, key >> _BITS + 2 & mask, key >> 2 & mask, key & 3
