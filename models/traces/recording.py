"""The requests of a simulated run as spans, in OpenTelemetry's OTLP JSON.

One document a line, as the OpenTelemetry Collector's file exporter writes them. Which spans there
are, and when they begin and end:

* SERVER (of a call) or CONSUMER (of a message): from the moment at which a worker takes the
  request until its answer is ready. So do servers with a pool of workers, whose instrumentation
  runs in the worker. What a request waits for a worker is then in no span of that service; for a
  call it is a part of the gap to the CLIENT span around it.
* CLIENT: from the moment at which the caller begins to ask until it has the answer or gives up:
  both halves of the round trip, the waiting and the SERVER span. It holds back the caller.
* PRODUCER: from the moment at which the caller begins to send until it goes on: the round trip to
  the broker and its acknowledgement. It is the parent of the CONSUMER span, in the same trace.
* INTERNAL: a step inside its caller's service.

Own work is thus what a SERVER or CONSUMER span has beside its CLIENT and PRODUCER spans; and a
round trip is the difference of the lengths of a CLIENT and its SERVER span where nobody waited.
Work that undoes a step has a span under that of the step that had asked for it. Spans of what
fails have the status ERROR. Ids are a hash of seed, flow, request, step and attempt.
"""

import gzip
import os
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from tqdm.auto import tqdm

from models.engine.plan import LOCAL, MESSAGE, ROOT
from models.engine.policies import OK
from models.engine.reference import Simulation

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5  # as in OTLP
EPOCH_NS = 1_735_689_600 * 10**9  # time 0 of a run: 2025-01-01 00:00 UTC
SPANS_A_LINE = 2000


def record(system, requests: int, path, seed: int = 1, progress: bool = False) -> int:
    """Write the spans of a run to a file (gzipped where its name ends in .gz); how many there are.

    The requests are those of `simulate(system, requests, seed)`, to the nanosecond. Memory grows
    with the requests under way and by some hundred bytes a request. Raises OSError; the file is
    there whole or not at all.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(part.open("wb"))
            if target.suffix == ".gz":
                zipped = gzip.GzipFile(
                    "", "wb", 6, file, mtime=0
                )  # no name, no time: the same bytes
                file = stack.enter_context(zipped)
            bar = stack.enter_context(tqdm(total=requests, unit=" requests", disable=not progress))
            spans = Spans(system, file)
            brokers = [entry.step.via for entry in system.steps()]
            Recorded(system.plan(), requests, seed, spans, bar, brokers).run()
            spans.flush()
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return spans.count


class Spans:
    """Writes spans, some thousand a line, those of one service together."""

    def __init__(self, system, file):
        self.file, self.count, self.waiting = file, 0, 0
        self.lists = {name: [] for name in system.services}
        self.resources = {
            name: {
                "attributes": [
                    _attribute("service.name", name),
                    _attribute("k8s.cluster.name", service.infrastructure),
                ]
            }
            for name, service in system.services.items()
        }

    def add(self, service, span):
        self.lists[service].append(span)
        self.count += 1
        self.waiting += 1
        if self.waiting == SPANS_A_LINE:
            self.flush()

    def flush(self):
        groups = [
            {
                "resource": self.resources[name],
                "scopeSpans": [{"scope": {"name": "decouple"}, "spans": spans}],
            }
            for name, spans in self.lists.items()
            if spans
        ]
        if groups:
            self.file.write(msgspec.json.encode({"resourceSpans": groups}) + b"\n")
        self.lists, self.waiting = {name: [] for name in self.lists}, 0


class Recorded(Simulation):
    """The reference model, which hands over a span for everything that begins and ends.

    Nothing is delayed or drawn by that, so that the run is the same as without.
    """

    def __init__(self, plan, requests, seed, spans, bar, brokers):
        super().__init__(plan, requests, seed)
        self.spans, self.bar, self.brokers = spans, bar, brokers  # a step's broker, by its number
        self.callers = {}  # the attempt of the caller that made an attempt, where it is another
        self.sent = {}  # the attempt that sent a message, by the message's identity

    # What begins and ends

    def serve(self, step, job):
        kind = {LOCAL: INTERNAL, MESSAGE: CONSUMER}.get(step.mode, SERVER)
        if step.mode == ROOT:
            self.bar.update()
        return self.spanned(kind, step, job, super().serve(step, job))

    def ask(self, step, job):
        asked = super().ask(step, job)
        if step.policy is not None or step.mode in (LOCAL, ROOT):
            return asked
        return self.spanned(PRODUCER if step.mode == MESSAGE else CLIENT, step, job, asked)

    def attempt(self, step, job, part):
        self.callers[self.label(step, part)] = job.attempt
        tried = super().attempt(step, job, part)
        if step.mode in (LOCAL, ROOT):
            return tried
        return self.spanned(PRODUCER if step.mode == MESSAGE else CLIENT, step, part, tried)

    def process(self, step, job):
        self.sent[id(job.message)] = job.attempt
        result = yield from super().process(step, job)
        del self.sent[id(job.message)]
        return result

    def undo_work(self, step, job):
        return self.spanned(SERVER, step, job, super().undo_work(step, job), undo=True)

    # Spans

    def spanned(self, kind, step, job, work, undo=False):
        """Do it, and hand over the span that it makes."""
        started_ms, result = self.env.now, None
        above = self.above(kind, step, job, undo)
        try:
            result = yield from work
        finally:
            service = step.service
            if kind in (CLIENT, PRODUCER):
                service = self.plan.steps[step.parent].service
            span = {
                "traceId": self.hashed(16, job),
                "spanId": self.hashed(8, job, step.number, job.attempt, kind, undo),
                **({"parentSpanId": above} if above else {}),
                "name": self.name(step, undo),
                "kind": kind,
                "startTimeUnixNano": _ns(started_ms),
                "endTimeUnixNano": _ns(self.env.now),
            }
            if kind in (PRODUCER, CONSUMER):
                span["attributes"] = [_attribute("messaging.system", self.brokers[step.number])]
            if result not in (OK, None) or result is None and not undo:
                span["status"] = {"code": 2}
            self.spans.add(self.plan.services[service].name, span)
        return result

    def above(self, kind, step, job, undo):
        """The id of the span above; none for the first of a request."""
        attempt = job.attempt
        if kind in (SERVER, CONSUMER) and not undo and step.mode != ROOT:
            if kind == CONSUMER:
                attempt = self.sent[id(job.message)]
            other = PRODUCER if kind == CONSUMER else CLIENT
            return self.hashed(8, job, step.number, attempt, other, False)
        if step.mode == ROOT:
            caller = step if undo else None
        else:
            caller = self.plan.steps[step.parent]
            attempt = self.callers.get(self.label(step, job), attempt)
        if caller is None:
            return None
        kind = {LOCAL: INTERNAL, MESSAGE: CONSUMER}.get(caller.mode, SERVER)
        return self.hashed(8, job, caller.number, attempt, kind, False)

    def label(self, step, job):
        return job.request.flow, job.request.index, step.number, job.attempt

    def hashed(self, size, job, *parts):
        text = f"{self.seed} {job.request.flow} {job.request.index} {parts}"
        return blake2b(text.encode(), digest_size=size).hexdigest()

    def name(self, step, undo):
        """A step's key; the flow's name at its first step, since that is what users ask for."""
        name = self.plan.flows[step.flow].name if step.mode == ROOT else step.key
        return f"undo {name}" if undo else name


def _ns(ms):
    return str(EPOCH_NS + round(ms * 1e6))


def _attribute(key, value):
    return {"key": key, "value": {"stringValue": value}}
