"""Traces made by the real library for the tests of the import: opentelemetry-sdk, known times.

A shop of four services that were instrumented and a database that was not: `gateway` calls
`orders`, which works inside an INTERNAL span, asks the database `postgresql`, and sends a message
to `mailer`, whose span links to the sender's in a trace of its own. Each request has times drawn
from a generator; waiting is none.
"""

import base64
import json
from dataclasses import dataclass

import numpy as np
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, StatusCode

START_NS = 1_750_000_000 * 10**9
RTT_MS, SEND_MS, DATABASE_MS = 2.0, 3.0, 5.0
GATEWAY_MS, ORDERS_MS, MAILER_MS = 1.5, 8.0, 12.0
RATE_PER_S, FAILS = 50.0, 0.05
SERVICES = ("gateway", "orders", "mailer")


@dataclass
class Clock:
    """Time of one request, in ms since the start of all."""

    ms: float

    def after(self, ms):
        self.ms += ms
        return self.ns

    @property
    def ns(self):
        return START_NS + round(self.ms * 1e6)


def spans(requests=400, seed=1, skew_ms=(0, 0, 0), sampler=None, links=True, names=None):
    """The ended spans of some requests; the clocks of the services differ by `skew_ms`.

    `names`: what some of them are called instead, and the namespace.
    """
    memory = InMemorySpanExporter()
    tracers, skews = {}, dict(zip(SERVICES, skew_ms, strict=True))
    for name in SERVICES:
        said = {"service.name": name, "cloud.region": "north"}
        if name in (names or {}):
            said |= zip(("service.name", "service.namespace"), names[name], strict=True)
        provider = TracerProvider(
            resource=Resource(said), **({"sampler": sampler} if sampler else {})
        )
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracers[name] = provider.get_tracer("sample")
    rng = np.random.default_rng(seed)
    arrived_ms = 0.0

    def begin(service, name, kind, clock, parent=None, **more):
        context = trace.set_span_in_context(parent) if parent else trace.Context()
        at = clock.ns + round(skews[service] * 1e6)
        return tracers[service].start_span(name, context, kind, start_time=at, **more)

    def end(service, span, clock):
        span.end(clock.ns + round(skews[service] * 1e6))

    for _ in range(requests):
        arrived_ms += rng.exponential(1000 / RATE_PER_S)
        clock = Clock(arrived_ms)
        top = begin("gateway", "GET /orders/1234", SpanKind.SERVER, clock)
        clock.after(rng.exponential(GATEWAY_MS))
        call = begin("gateway", "orders", SpanKind.CLIENT, clock, top)
        clock.after(RTT_MS / 2)
        order = begin("orders", "create", SpanKind.SERVER, clock, call)
        inner = begin("orders", "validate", SpanKind.INTERNAL, clock, order)
        clock.after(rng.gamma(4, ORDERS_MS / 4))
        if rng.random() < FAILS:
            order.set_status(StatusCode.ERROR)
        else:
            asked = begin("orders", "SELECT", SpanKind.CLIENT, clock, inner,
                          attributes={"db.system.name": "postgresql"})  # fmt: skip
            clock.after(RTT_MS + DATABASE_MS)
            end("orders", asked, clock)
            sent = begin("orders", "send mail", SpanKind.PRODUCER, clock, order,
                         attributes={"messaging.system": "kafka"})  # fmt: skip
            clock.after(SEND_MS)
            end("orders", sent, clock)
            later = Clock(clock.ms + 40)
            how = {"links": [Link(sent.get_span_context())]} if links else {"parent": sent}
            mail = begin("mailer", "process mail", SpanKind.CONSUMER, later,
                         attributes={"messaging.system": "kafka"}, **how)  # fmt: skip
            later.after(rng.exponential(MAILER_MS))
            end("mailer", mail, later)
        end("orders", inner, clock)
        end("orders", order, clock)
        clock.after(RTT_MS / 2)
        end("gateway", call, clock)
        end("gateway", top, clock)
    return memory.get_finished_spans()


STOCK_MS, BANK_MS, PACK_MS, FETCH_MS = 9.0, 30.0, 6.0, 25.0


def orders(requests=100, batch=1, restless=False):
    """The ended spans of a `shop` whose every order asks `stock`, has it paid and is packed later.

    Every tenth span of `stock` was not exported. `bank.example` was not instrumented, and refuses
    every twentieth payment. `packer` fetches messages in a trace of its own, as Java's agent records
    it, some at a time; the span of the work on these has a link to each. With `restless`, `stock` fails
    every tenth time and is asked again at once, and `shop` answers before `stock` does. Nothing is
    random.
    """
    memory = InMemorySpanExporter()
    tracers = {}
    for name in ("shop", "stock", "packer"):
        provider = TracerProvider(resource=Resource({"service.name": name}))
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracers[name] = provider.get_tracer("sample")

    def begin(service, name, kind, clock, parent=None, links=(), **attributes):
        context = trace.set_span_in_context(parent) if parent else trace.Context()
        said = {key.replace("_", "."): value for key, value in attributes.items()}
        return tracers[service].start_span(
            name, context, kind, said, [Link(one.get_span_context()) for one in links], clock.ns
        )

    waiting = []
    for number in range(requests):
        clock = Clock(20.0 * number)
        order = begin("shop", "POST /orders", SpanKind.SERVER, clock)
        for again in (False, True) if restless and number % 10 == 0 else (True,):
            call = begin("shop", "reserve", SpanKind.CLIENT, clock, order, peer_service="stock")
            clock.after(RTT_MS / 2)
            reserve = begin("stock", "reserve", SpanKind.SERVER, clock, call)
            clock.after(STOCK_MS)
            if not again:
                reserve.set_status(StatusCode.ERROR)
            if restless or number % 10:
                reserve.end(clock.ns)
            clock.after(RTT_MS / 2)
            call.end(clock.ns)
        if restless:
            order.end(clock.ns - 10**6)
            continue
        pay = begin("shop", "pay", SpanKind.CLIENT, clock, order, server_address="bank.example")
        clock.after(BANK_MS + RTT_MS)
        if number % 20 == 5:
            pay.set_status(StatusCode.ERROR)
            order.set_status(StatusCode.ERROR)
        pay.end(clock.ns)
        if number % 20 != 5:
            sent = begin("shop", "send", SpanKind.PRODUCER, clock, order, messaging_system="kafka")
            clock.after(SEND_MS)
            sent.end(clock.ns)
            waiting.append(sent)
        order.end(clock.ns)
        if len(waiting) == batch:
            fetch = begin("packer", "receive", SpanKind.CONSUMER, clock)
            fetch.end(clock.after(FETCH_MS))
            pack = begin("packer", "pack", SpanKind.CONSUMER, clock, fetch, waiting)
            pack.end(clock.after(PACK_MS))
            waiting = []
    return memory.get_finished_spans()


def protobuf_json(ended):
    """As protobuf writes JSON: ids in base64, kinds by name."""
    return MessageToDict(encode_spans(ended))


def otlp_json(ended):
    """As OTLP says: ids in hex, kinds as numbers. The message is the encoder's."""
    data = MessageToDict(encode_spans(ended), use_integers_for_enums=True)
    for span in spans_of(data):
        for part in (span, *span.get("links", ())):
            for key in ("traceId", "spanId", "parentSpanId"):
                if key in part:
                    part[key] = base64.b64decode(part[key]).hex()
    return data


def spans_of(data):
    return [
        span
        for resource in data["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def jaeger_json(ended):
    """Jaeger's JSON of the same spans, by the mapping that OpenTelemetry documents.

    Specification, "OpenTelemetry to Jaeger Transformation"; the fields and their order are those of
    jaegertracing/jaeger, model/json/model.go. Jaeger itself comes with no package registry that
    the tests can use, so that its program has not written this.
    """
    traces = {}
    for resource in otlp_json(ended)["resourceSpans"]:
        said = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
        process = {
            "serviceName": said["service.name"]["stringValue"],
            "tags": [{"key": key, "type": "string", "value": value["stringValue"]}
                     for key, value in said.items() if key != "service.name"],
        }  # fmt: skip
        for span in resource["scopeSpans"][0]["spans"]:
            one = traces.setdefault(span["traceId"], {"spans": [], "processes": {}})
            key = f"p-{process['serviceName']}-{said.get('service.namespace')}"
            one["processes"][key] = process
            start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
            kind = {2: "server", 3: "client", 4: "producer", 5: "consumer"}.get(span["kind"])
            tags = [{"key": "span.kind", "type": "string", "value": kind}] if kind else []
            if span.get("status", {}).get("code") == 2:
                tags.append({"key": "error", "type": "bool", "value": True})
                tags.append({"key": "otel.status_code", "type": "string", "value": "ERROR"})
            tags += [{"key": at["key"], "type": "string", "value": at["value"]["stringValue"]}
                     for at in span.get("attributes", ())]  # fmt: skip
            above = [("CHILD_OF", span["traceId"], span["parentSpanId"])] if (
                "parentSpanId" in span) else []  # fmt: skip
            above += [("FOLLOWS_FROM", at["traceId"], at["spanId"]) for at in span.get("links", ())]
            one["spans"].append({
                "traceID": span["traceId"], "spanID": span["spanId"],
                "operationName": span["name"],
                "references": [{"refType": kind, "traceID": trace, "spanID": span}
                               for kind, trace, span in above],
                "startTime": start // 1000, "duration": (end - start) // 1000,
                "tags": tags, "logs": [], "processID": key, "warnings": None,
            })  # fmt: skip
    data = [{"traceID": trace, **one, "warnings": None} for trace, one in traces.items()]
    return {"data": data, "total": 0, "limit": 0, "offset": 0, "errors": None}


def lines(data, size=7):
    """One document a line, as the Collector's file exporter writes them, some spans in each."""
    text = ""
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for at in range(0, len(scope["spans"]), size):
                part = {**scope, "spans": scope["spans"][at : at + size]}
                text += json.dumps({"resourceSpans": [{**resource, "scopeSpans": [part]}]}) + "\n"
    return text
