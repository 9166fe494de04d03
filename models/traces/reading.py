"""A file of spans, read as a stream: OpenTelemetry's OTLP JSON or Jaeger's JSON, also gzipped.

OTLP: one document, or one after the other (a line each, as the Collector's file exporter writes
them); ids in hex, as OTLP says, or in base64, as protobuf's own JSON has them. Jaeger: what its
query service and its user interface export, `{"data": [{"traceID", "spans", "processes"}]}`.

However large a document is, it is never in memory as a whole. Its brackets are found with numpy;
what lies in the arrays called `spans` is cut out and decoded some megabytes at a time, and what is
left of each resource or trace is decoded when it ends. Of a span, a row of numbers is kept.

Formats: OpenTelemetry protocol, "JSON Protobuf Encoding"; jaegertracing/jaeger, model/json.
"""

import base64
import binascii
import gzip
import re
import sys
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from tqdm.auto import tqdm

CHUNK = 1 << 20
MAX_PIECE = 1 << 26  # bytes of one span, or of what is around the spans of one resource
MAX_SPANS = 5_000_000
MAX_RATIO = 300  # of what is unpacked to what was packed; text of traces has 10 to 50
MAX_NAMES = 200_000  # different names of services and operations
MAX_LEVELS = 32  # of what is around the spans

UNSAID, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(6)
KINDS = {name: kind for kind, name in enumerate(
    ("unspecified", "internal", "server", "client", "producer", "consumer"))}  # fmt: skip
SCOPES = (b"scopeSpans", b"instrumentationLibrarySpans")
NO_SPANS = (b"resource", b"scope", b"attributes", b"processes", b"resourceMetrics", b"resourceLogs")
BROKERS = ("messaging.system",)
PEERS = ("peer.service", "db.system.name", "db.system", "rpc.service", "server.address",
         "net.peer.name", "http.host")  # fmt: skip
NAMESPACE = "service.namespace"
PLACES = ("k8s.cluster.name", "cloud.availability_zone", "cloud.region")


class InvalidTraces(ValueError):
    """Traces of which no system can be made; the message says what was found and expected."""


@dataclass
class Spans:
    """What is kept of each span, a column each; times in ns, ids as numbers, names as positions.

    `trace`, `above_trace`, `link_trace`: positions of trace ids (-1: none); `above` and `link` the
    span ids of the parent and of what a consumer's link leads to. `peer`: the broker of a message,
    or whom a client says that it calls. `share`: the sampling probability (NaN: not said).
    `more`, no column: what all further links lead to, as of a batch.
    """

    trace: array = field(default_factory=lambda: array("q"))
    span: array = field(default_factory=lambda: array("Q"))
    above_trace: array = field(default_factory=lambda: array("q"))
    above: array = field(default_factory=lambda: array("Q"))
    link_trace: array = field(default_factory=lambda: array("q"))
    link: array = field(default_factory=lambda: array("Q"))
    more_trace: array = field(default_factory=lambda: array("q"))
    more: array = field(default_factory=lambda: array("Q"))
    start: array = field(default_factory=lambda: array("q"))
    end: array = field(default_factory=lambda: array("q"))
    kind: array = field(default_factory=lambda: array("b"))
    error: array = field(default_factory=lambda: array("b"))
    service: array = field(default_factory=lambda: array("i"))
    name: array = field(default_factory=lambda: array("i"))
    peer: array = field(default_factory=lambda: array("i"))
    share: array = field(default_factory=lambda: array("d"))
    names: dict[str, int] = field(default_factory=lambda: {"": 0})
    traces: dict[str, int] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    dropped: Counter = field(default_factory=Counter)
    read: int = 0
    format: str = ""

    def __len__(self):
        return len(self.span)


def read(path, progress: bool = False) -> Spans:
    """The spans of a file, or of the standard input (`-`).

    Raises InvalidTraces: one sentence, `file: what is wrong`.
    """
    place = str(path) if str(path).isprintable() and 0 < len(str(path)) < 200 else repr(path)[:60]
    spans = Spans()
    try:
        with nullcontext(sys.stdin.buffer) if place == "-" else Path(path).open("rb") as file:
            total = file.seek(0, 2) if file.seekable() else None
            if total is not None:
                file.seek(0)
            bar = tqdm(total=total, unit="B", unit_scale=True, disable=not progress)
            with bar:
                splitter = Splitter(place, spans)
                done = 0
                for piece in _unpacked(file, place):
                    splitter.feed(piece)
                    if total is not None:
                        bar.update(file.tell() - done)
                        done = file.tell()
                splitter.finish()
    except IsADirectoryError:
        raise InvalidTraces(
            f"{place}: this is a directory; expected a file of traces in JSON"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidTraces):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidTraces(
            f"{place}: cannot be read: {reason}; expected a file of traces in JSON"
        ) from None
    if not spans.read:
        raise InvalidTraces(
            f"{place}: no span was found; expected OTLP JSON with resourceSpans, or Jaeger's JSON"
        )
    return spans


def _unpacked(file, place):
    """The bytes of a file, without gzip's packing and a byte order mark, some at a time."""
    head = file.read(CHUNK)
    if not head:
        raise InvalidTraces(f"{place}: the file is empty; expected traces in JSON")
    if head[:2] != b"\x1f\x8b":
        head = head.removeprefix(b"\xef\xbb\xbf")
        first = head.lstrip()[:1]
        if first not in (b"{", b"["):
            found = "nothing but blanks" if not first else f"a file that begins with {head[:8]!r}"
            raise InvalidTraces(f"{place}: {found} was found; expected traces in JSON, or gzipped")
        while head:
            yield head
            head = file.read(CHUNK)
        return
    if not file.seekable():
        raise InvalidTraces(
            f"{place}: gzip from a pipe was found; expected a file; unpack it first"
        )
    file.seek(0)
    out = 0
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
            while piece := unzipped.read(CHUNK):
                out += len(piece)
                if out > MAX_RATIO * max(file.tell(), CHUNK // 32):
                    raise InvalidTraces(
                        f"{place}: more than {MAX_RATIO} times its size came out of this gzip file; "
                        "expected traces; unpack it and look"
                    )
                if out == len(piece) and piece.lstrip()[:1] not in (b"{", b"["):
                    raise InvalidTraces(
                        f"{place}: no JSON was found in this gzip file; expected traces in JSON"
                    )
                yield piece
    except EOFError:
        raise InvalidTraces(
            f"{place}: the gzip file ends too early; expected it whole; was it cut off?"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InvalidTraces(f"{place}: corrupt gzip: {error}; expected a whole file") from None
    if out == 0:
        raise InvalidTraces(f"{place}: the file is empty; expected traces in JSON")


# Where spans are in a text


_BRACKET = np.zeros(256, bool)
_BRACKET[list(b"{}[]")] = True
_OPENS = np.zeros(256, bool)
_OPENS[list(b"{[")] = True
_KEY = re.compile(rb'"([A-Za-z_]{1,40})"\s{0,40}:\s{0,40}\Z')


@dataclass
class Level:
    """An array or an object that is open: its bracket, its key, and where it is in the text around."""

    bracket: int
    key: bytes
    at: int


class Splitter:
    """Takes a text piece by piece; cuts out what lies in arrays called `spans`."""

    def __init__(self, place, spans):
        self.place, self.rows = place, Rows(place, spans)
        self.left = b""  # of the last piece: what is not complete yet
        self.around = bytearray()  # of the document: all but spans, and groups that have ended
        self.levels: list[Level] = []
        self.inside = False  # an array of spans
        self.first = True  # span of its array
        self.group = -1  # the level of the resource or trace that has spans; -1: none
        self.offset = self.fresh = 0

    def feed(self, piece):
        text = self.left + piece if self.left else piece
        self.fresh += len(piece)
        if self.fresh < len(text) - self.fresh:  # so that a long span is not looked at ever again
            self.left = text
            return
        self.look(text)

    def look(self, text):
        at = self.find(text)
        self.fresh = 0
        self.left = text[at:]
        self.offset += at
        if len(self.left) > MAX_PIECE or len(self.around) > MAX_PIECE:
            self.refuse(f"more than {MAX_PIECE:,} bytes in one span, or around them", "less")

    def finish(self):
        self.look(self.left)
        if self.levels or self.left.strip():
            self.refuse("an end in the middle", "a whole document; was it cut off?")

    def find(self, text):
        """Go through the brackets of a text, up to the last that can be dealt with now; where it is."""
        codes = np.frombuffer(text, np.uint8)
        places = np.flatnonzero(_BRACKET[codes])
        places = places[np.searchsorted(_quotes(text, codes), places) % 2 == 0]
        opening = _OPENS[codes[places]]
        depths = len(self.levels) + np.cumsum(np.where(opening, 1, -1))
        depths[~opening] += 1  # the level that a bracket opens or closes
        at, opens, depth = places.tolist(), opening.tolist(), depths.tolist()
        ends: dict[int, list[int]] = {}  # by level, the numbers of the brackets that close it

        def closing(level):
            if level not in ends:
                ends[level] = np.flatnonzero(~opening & (depths == level)).tolist()
            return ends[level]

        done = number = 0
        count = len(at)
        while number < count:
            if self.inside:
                level = len(self.levels)
                out = closing(level)
                place = bisect_left(out, number)
                stop = out[place] if place < len(out) else count
                last = closing(level + 1)
                if place := bisect_left(last, stop):
                    if last[place - 1] >= number:
                        end = at[last[place - 1]] + 1
                        self.decode(text[done:end], done)
                        done = end
                if stop == count:
                    return done
                number, end = stop, at[stop]
                if text[done:end].strip() or text[end] != ord("]"):
                    self.refuse("no span", "spans, as objects", done)
                self.inside = False
                done = end
            end = at[number] + 1
            if opens[number]:
                key = _key(text, end)
                if key in NO_SPANS:  # as one piece
                    out = closing(depth[number])
                    place = bisect_left(out, number)
                    if place == len(out):
                        return done
                    number = out[place]
                    end = at[number] + 1
                    self.around += text[done:end]
                else:
                    self.around += text[done:end]
                    self.open(text[end - 1], key, end)
            else:
                self.around += text[done:end]
                self.close(text[end - 1], end)
            done = end
            number += 1
        return done

    def open(self, bracket, key, end):
        if len(self.levels) == MAX_LEVELS:
            self.refuse(f"more than {MAX_LEVELS} levels inside each other", "traces", end)
        self.levels.append(Level(bracket, key, len(self.around) - 1))
        if key == b"spans" and bracket == ord("["):
            self.inside = self.first = True
            held = len(self.levels) - 2  # the object that has the spans
            otlp = held >= 2 and self.levels[held - 1].key in SCOPES
            self.group = held - 2 if otlp else held
            self.rows.begin(otlp, lambda what, expected: self.refuse(what, expected, end))

    def close(self, bracket, end):
        if not self.levels or bracket - self.levels[-1].bracket != 2:
            self.refuse("a closing bracket without its opening one", "JSON", end)
        level = self.levels.pop()
        if len(self.levels) == self.group:
            self.rows.settle(bytes(self.around[level.at :]), self.refuse)
            self.around[level.at :] = b"0"
            self.group = -1
        if not self.levels:
            self.check(bytes(self.around))
            self.around.clear()
            self.rows.end()

    def check(self, text):
        """What is around the spans of a document that has ended: whether it is JSON at all."""
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            self.refuse(f"no JSON ({error})", "traces in JSON")

    def decode(self, text, at):
        text = text.lstrip()
        if not self.first:
            if text[:1] != b",":
                self.refuse("no comma between two spans", "JSON", at)
            text = text[1:]
        self.first = False
        self.rows.add(b"[" + text + b"]", lambda what, expected: self.refuse(what, expected, at))

    def refuse(self, what, expected, at=0):
        raise InvalidTraces(
            f"{self.place}, near byte {self.offset + at:,}: {what} was found; expected {expected}"
        )


def _key(text, end):
    """The key of what the bracket before `end` opens."""
    if text[end - 2 : end - 1] in (b",", b"[", b"{", b"\n"):
        return b""
    found = _KEY.search(text, max(0, end - 130), end - 1)
    return found[1] if found else b""


def _quotes(text, codes):
    """Positions of the quotes that begin and end strings."""
    quotes = np.flatnonzero(codes == ord('"'))
    if b"\\" in text:
        slashes = np.flatnonzero(codes == ord("\\"))
        starts = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
        lengths = np.diff(np.append(starts, len(slashes)))
        escaped = (slashes[starts] + lengths)[lengths % 2 == 1]
        quotes = np.setdiff1d(quotes, escaped, assume_unique=True)
    return quotes


# What a span says


class Status(msgspec.Struct):
    code: int | str | None = 0


class Value(msgspec.Struct):
    stringValue: str | None = None
    doubleValue: float | str | None = None
    intValue: int | str | None = None
    boolValue: bool | None = None

    @property
    def said(self):
        for value in (self.stringValue, self.doubleValue, self.intValue):
            if value is not None:
                return value
        return None


class Attribute(msgspec.Struct):
    key: str = ""
    value: Value | None = None


class Link(msgspec.Struct):
    traceId: str = ""
    spanId: str = ""


NO_TEXT = msgspec.Raw(b"")


class OtlpSpan(msgspec.Struct, gc=False):
    traceId: str = ""
    spanId: str = ""
    parentSpanId: str | None = None
    name: str | None = None
    kind: int | str | None = 0
    startTimeUnixNano: int | str | None = None
    endTimeUnixNano: int | str | None = None
    traceState: str | None = None
    attributes: msgspec.Raw = NO_TEXT
    links: msgspec.Raw = NO_TEXT
    status: Status | None = None


class Resource(msgspec.Struct):
    attributes: list[Attribute] | None = None


class Tag(msgspec.Struct):
    key: str = ""
    value: msgspec.Raw = NO_TEXT


class Reference(msgspec.Struct):
    refType: str = ""
    traceID: str = ""
    spanID: str = ""


class Process(msgspec.Struct):
    serviceName: str | None = None
    tags: list[Tag] | None = None


class JaegerSpan(msgspec.Struct, gc=False):
    traceID: str = ""
    spanID: str = ""
    parentSpanID: str | None = None
    operationName: str | None = None
    references: list[Reference] | None = None
    startTime: int | float | None = None
    duration: int | float | None = None
    tags: list[Tag] | None = None
    processID: str | None = None
    process: Process | None = None


class Around(msgspec.Struct):
    """What is left of a resource or of a trace without its spans."""

    resource: Resource | None = None
    processes: dict[str, Process] | None = None


class Malformed(Exception):
    """A span that cannot be used; the argument says why, to be counted."""


_decode_around = msgspec.json.Decoder(Around).decode
_decode_attributes = msgspec.json.Decoder(list[Attribute] | None).decode
_decode_links = msgspec.json.Decoder(list[Link] | None).decode
_decode_any = msgspec.json.Decoder().decode
_decoders = {kind: msgspec.json.Decoder(kind) for kind in (OtlpSpan, JaegerSpan)}
_list_decoders = {kind: msgspec.json.Decoder(list[kind]) for kind in (OtlpSpan, JaegerSpan)}  # type: ignore[valid-type]
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_THRESHOLD = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?:[;,]|$)")
_VARIABLE = re.compile(r"(?<![0-9A-Za-z])(?:\d+|[0-9a-fA-F-]{16,})(?![0-9A-Za-z])")


class Rows:
    """Makes a row of each span."""

    def __init__(self, place, spans):
        self.place, self.spans = place, spans
        self.kind: type = OtlpSpan
        self.processes: dict[str, int] = {}  # of a Jaeger trace: names, by their order
        self.pending = array("i")  # the process of each row of a Jaeger trace
        self.tidied: dict[str, int] = {}
        self.namespaces: dict[str, str] = {}  # of each service's name, the first that was found

    def begin(self, otlp, refuse):
        kind = OtlpSpan if otlp else JaegerSpan
        if kind is not self.kind and len(self.spans.service) < len(self.spans):
            refuse("both OTLP and Jaeger inside each other", "one of them")
        self.kind = kind
        self.spans.format = "OTLP" if otlp else "Jaeger"

    def add(self, text, refuse):
        """Decode a list of spans; what is no span is dropped and counted."""
        if len(self.spans) > MAX_SPANS:
            refuse(
                f"more than {MAX_SPANS:,} spans",
                "fewer; take fewer hours, or whole traces by chance",
            )
        if len(self.spans.names) > MAX_NAMES:
            refuse(f"more than {MAX_NAMES:,} different names", "names without ids in them")
        try:
            found = _list_decoders[self.kind].decode(text)
        except msgspec.ValidationError:
            found = list(self.one_by_one(text))
        except (msgspec.DecodeError, RecursionError) as error:
            refuse(f"no JSON ({error})", "spans in JSON")
        row = self.otlp if self.kind is OtlpSpan else self.jaeger
        spans = self.spans
        spans.read += len(found)
        for span in found:
            try:
                row(span)
            except Malformed as error:
                spans.dropped[str(error)] += 1

    def one_by_one(self, text):
        for raw in _raw_decoder.decode(text):
            try:
                yield _decoders[self.kind].decode(raw)
            except msgspec.ValidationError:
                self.spans.read += 1
                self.spans.dropped["not as the format says"] += 1

    def settle(self, text, refuse):
        """A resource or trace has ended: which services its rows belong to."""
        try:
            around = _decode_around(text)
        except (msgspec.DecodeError, RecursionError) as error:
            refuse(f"no resource or trace ({error})", "traces in JSON")
        spans = self.spans
        if self.kind is OtlpSpan:
            said = around.resource.attributes if around.resource else None
            number = self.service({one.key: one.value.said for one in said or () if one.value})
            spans.service.extend([number] * (len(spans) - len(spans.service)))
            return
        known = {key: self.process(process) for key, process in (around.processes or {}).items()}
        numbers = [known.get(key, 0) for key in self.processes]
        spans.service.extend(numbers[at] if at >= 0 else -1 - at for at in self.pending)
        del self.pending[:]
        self.processes.clear()

    def end(self):
        """A document has ended; what belongs to no resource or trace has no service."""
        self.spans.service.extend([0] * (len(self.spans) - len(self.spans.service)))
        del self.pending[:]
        self.processes.clear()

    def process(self, process):
        keys = (*PLACES, NAMESPACE)
        tags = {tag.key: _plain(tag.value) for tag in process.tags or () if tag.key in keys}
        return self.service({"service.name": process.serviceName, **tags})

    def service(self, said):
        """The number of a service's name; 0 where it has none.

        Names are unique inside a namespace: the same in another one stands after that one's name.
        """
        name = said.get("service.name")
        if not isinstance(name, str) or not name.strip() or name.startswith("unknown_service"):
            return 0
        namespace = said.get(NAMESPACE)
        if isinstance(namespace, str) and self.namespaces.setdefault(name, namespace) != namespace:
            name = f"{namespace} {name}"
        number = self.number(name)
        place = next((said[key] for key in PLACES if isinstance(said.get(key), str)), None)
        if place:
            self.spans.places.setdefault(number, place)
        return number

    def number(self, name):
        return self.spans.names.setdefault(name[:200], len(self.spans.names))

    def operation(self, name):
        """The number of an operation's name, ids and numbers in it left out."""
        if name not in self.tidied:
            if len(self.tidied) > MAX_NAMES:
                self.tidied.clear()
            self.tidied[name] = self.number(_VARIABLE.sub("*", name))
        return self.tidied[name]

    def otlp(self, span):
        times = span.startTimeUnixNano, span.endTimeUnixNano
        kind = span.kind
        if isinstance(kind, str):
            kind = KINDS.get(kind.removeprefix("SPAN_KIND_").lower(), UNSAID)
        said: dict = {}
        share = np.nan
        raw = span.attributes
        text = bytes(raw) if raw is not NO_TEXT else b""
        if text and (kind in (CLIENT, PRODUCER, CONSUMER) or b"sampling" in text):
            said = _attributes(text)
            share = _share(said.get("sampling.probability"))
        if span.traceState:
            share = _from_state(span.traceState, share)
        trace, above = self.trace(span.traceId), self.parent(span.parentSpanId)
        link_trace, link = -1, 0
        if span.links is not NO_TEXT and (kind == CONSUMER or not above):
            link_trace, link = self.linked(bytes(span.links))
        code = span.status.code if span.status else 0
        self.append(
            trace, _id(span.spanId, 8), trace if above else -1, above, link_trace, link, times,
            kind or UNSAID, code in (2, "STATUS_CODE_ERROR"), span.name, said, share,
        )  # fmt: skip

    def linked(self, text):
        try:
            found = [
                (self.trace(one.traceId), _id(one.spanId, 8)) for one in _decode_links(text) or ()
            ]
        except (msgspec.DecodeError, Malformed):
            self.spans.dropped["(link only) not as the format says"] += 1
            return -1, 0
        return self.first(found)

    def first(self, links):
        """The first of a span's links; the others are kept beside the spans."""
        for trace, link in links[1:]:
            self.spans.more_trace.append(trace)
            self.spans.more.append(link)
        return links[0] if links else (-1, 0)

    def jaeger(self, span):
        said = {tag.key: tag.value for tag in span.tags or ()}
        kind = KINDS.get(str(_plain(said.get("span.kind"))).lower(), INTERNAL)
        share = _share(_plain(said.get("sampling.probability")))
        if _plain(said.get("sampler.type")) == "probabilistic":
            share = _share(_plain(said.get("sampler.param")))
        state = _plain(said.get("w3c.tracestate"))
        if isinstance(state, str):
            share = _from_state(state, share)
        failed = _plain(said.get("error")) in (True, "true")
        failed = failed or _plain(said.get("otel.status_code")) == "ERROR"
        start, duration = span.startTime, span.duration
        if start is None or duration is None or not 0 < start < 4e15 or not abs(duration) < 4e15:
            raise Malformed("without a time")
        times = round(1000 * start), round(1000 * (start + duration))
        trace, above = self.trace(span.traceID), self.parent(span.parentSpanID)
        above_trace, links = trace if above else -1, []
        for one in span.references or ():
            if one.refType == "FOLLOWS_FROM":
                links.append((self.trace(one.traceID), _id(one.spanID, 8)))
            elif one.refType == "CHILD_OF" and not above:
                above_trace, above = self.trace(one.traceID), _id(one.spanID, 8)
        link_trace, link = self.first(links)
        peers = {key: _plain(said[key]) for key in (*BROKERS, *PEERS) if key in said}
        if span.process is not None:
            process = -1 - self.process(span.process)
        else:
            process = self.processes.setdefault(span.processID or "", len(self.processes))
        self.append(
            trace, _id(span.spanID, 8), above_trace, above, link_trace, link, times, kind, failed,
            span.operationName, peers, share,
        )  # fmt: skip
        self.pending.append(process)

    def trace(self, text):
        """The number of a trace, by its id in one spelling."""
        return self.spans.traces.setdefault(f"{_id(text, 16):x}", len(self.spans.traces))

    def parent(self, text):
        if not text or not text.strip("0"):
            return 0
        return _id(text, 8)

    def append(self, trace, span, above_trace, above, link_trace, link, times, kind, failed, name,
               said, share):  # fmt: skip
        try:
            start, end = int(times[0] or 0), int(times[1] or 0)
        except ValueError:
            raise Malformed("without a time") from None
        if not 0 < start < 2**62 or not 0 < end < 2**62:
            raise Malformed("without a time")
        if end < start:
            raise Malformed("that end before they begin")
        if not 0 <= kind <= CONSUMER:
            kind = UNSAID
        peer = ""
        if said:
            keys = BROKERS if kind in (PRODUCER, CONSUMER) else PEERS
            peer = next((said[key] for key in keys if isinstance(said.get(key), str)), "")
        spans = self.spans
        operation = self.operation(name or "")
        spans.trace.append(trace)
        spans.span.append(span)
        spans.above_trace.append(above_trace)
        spans.above.append(above)
        spans.link_trace.append(link_trace)
        spans.link.append(link)
        spans.start.append(start)
        spans.end.append(end)
        spans.kind.append(kind)
        spans.error.append(failed)
        spans.name.append(operation)
        spans.peer.append(self.number(peer) if peer else 0)
        spans.share.append(share)


def _id(text, size):
    """An id as a number: hex (Jaeger leaves out leading zeros), or protobuf's base64."""
    try:
        if len(text) <= 2 * size and not text.endswith("="):
            found = int.from_bytes(bytes.fromhex(text.zfill(2 * size)))
        elif len(text) == -(-size // 3) * 4:
            found = int.from_bytes(base64.b64decode(text, validate=True)[:size])
        else:
            found = 0
    except (ValueError, binascii.Error):
        found = 0
    if found <= 0:
        raise Malformed("without a valid id")
    return found


def _attributes(text):
    try:
        return {one.key: one.value.said for one in _decode_attributes(text) or () if one.value}
    except (msgspec.DecodeError, RecursionError):
        return {}


def _plain(raw):
    """The value of a Jaeger tag."""
    try:
        return _decode_any(raw) if raw else None
    except (msgspec.DecodeError, RecursionError):
        return None


def _share(value):
    try:
        return share if 0 < (share := float(value)) <= 1 else np.nan
    except (TypeError, ValueError):
        return np.nan


def _from_state(text, share):
    """The sampling probability that W3C's tracestate tells: of 2^56 values, those from `th` on.

    OpenTelemetry specification, "TraceState: Probability Sampling".
    """
    if found := _THRESHOLD.search(text):
        return 1 - int(found[1].ljust(14, "0"), 16) / 2**56
    return share
