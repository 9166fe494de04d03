"""A drawing shows all of a system, and nothing of it lies over anything else."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace as Made

import pytest

from models import drawing

NAMES = "{http://www.w3.org/2000/svg}"


def step(service, *then, via=None):
    work = Made(mean_ms=5.0)
    return Made(service=service, name=None, then=then, via=via, work=work)


def system(root, services, between=(), brokers=None, rate=120.0):
    names = dict.fromkeys(place for place, _, _ in services.values())
    return Made(
        name="A & B",
        infrastructures={name: Made(label=None) for name in names},
        network=Made(within_ms=0.5, between=[Made(ends=e, rtt_ms=r) for e, r in between]),
        brokers=brokers or {},
        services={
            name: Made(infrastructure=place, team=team, workers=workers)
            for name, (place, team, workers) in services.items()
        },
        flows={"place_order": Made(rate_per_s=rate, root=root)},
    )


@pytest.fixture
def shop():
    return system(
        step(
            "order",
            step("payment"),
            step("stock"),
            step("order"),
            step("mail", via="events"),
            step("payment"),
        ),
        {
            "order": ("shop", "checkout", 16),
            "payment": ("shop", "payments", 1),
            "mail": ("shop", None, "unlimited"),
            "stock": ("warehouse", "logistics", 4),
        },
        between=[(("shop", "warehouse"), 20.0)],
        brokers={"events": Made(infrastructure="shop", partitions=12)},
    )


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{NAMES}text")]


def boxes(svg):
    return [
        tuple(float(node.get(name)) for name in ("x", "y", "width", "height"))
        for node in ElementTree.fromstring(svg).iter(f"{NAMES}rect")
    ]


def test_everything_is_named(shop):
    said = texts(drawing.draw(shop))
    for words in ("order", "checkout · 16 workers", "payments · 1 worker", "unlimited workers"):
        assert words in said
    for words in ("events", "broker, 12 partitions", "place order", "120 requests/s", "20 ms"):
        assert words in said
    assert "×2" in said  # payment is called twice
    assert any(words.startswith("warehouse") for words in said)


def test_messages_are_dashed_and_pass_through_the_broker(shop):
    svg = drawing.draw(shop)
    paths = [
        node for node in ElementTree.fromstring(svg).iter(f"{NAMES}path") if node.get("stroke")
    ]
    dashed = [path for path in paths if path.get("stroke-dasharray")]
    assert len(dashed) == 3  # to the broker, from the broker, in the legend
    assert len(paths) - len(dashed) == 4  # request, payment, stock, in the legend


def test_without_messages_the_legend_has_none():
    one = system(step("a", step("b")), {"a": ("x", None, 1), "b": ("x", None, 1)})
    assert not any("message" in words for words in texts(drawing.draw(one)))


def test_without_calls_the_legend_has_none():
    one = system(
        step("a", step("b", via="events")),
        {"a": ("x", None, 1), "b": ("x", None, 1)},
        brokers={"events": Made(infrastructure="x", partitions=None)},
    )
    assert not any("call" in words for words in texts(drawing.draw(one)))


def test_long_names_are_shortened_to_fit(shop):
    shop.services["s" * 100] = Made(infrastructure="shop", team="t" * 100, workers="unlimited")
    shop.infrastructures["warehouse"].label = "A warehouse " * 10
    svg = drawing.draw(shop)
    said = texts(svg)
    assert "ssss" in "".join(said)  # although no flow reaches it
    assert max(map(len, said)) < 60
    assert "s" * 100 in svg and "t" * 100 in svg  # what a pointer shows


def test_no_part_of_a_line_is_drawn_twice():
    services = {name: ("x", None, 1) for name in "abcde"}
    svg = drawing.draw(system(step("c", *map(step, "abde")), services))
    starts = re.findall(r'd="(M[\d.]+ [\d.]+H)', svg)
    assert len(starts) == 2  # the request, and one line that leaves the caller


def test_it_can_be_read_aloud(shop):
    root = ElementTree.fromstring(drawing.draw(shop))
    assert root.get("role") == "img"
    assert root.find(f"{NAMES}title").text == "A & B"
    assert root.find(f"{NAMES}desc").text == drawing.describe(shop)
    assert "order calls payment and stock." in drawing.describe(shop)
    assert "order sends messages through events to mail." in drawing.describe(shop)


def test_same_data_same_picture(shop):
    assert drawing.draw(shop) == drawing.draw(shop)


def test_fifteen_services_do_not_overlap():
    places = ("one", "two", "three")
    services = {f"s{i}": (places[i % 3], "team", i + 1) for i in range(15)}
    links = [(pair, 10.0) for pair in itertools.combinations(places, 2)]
    root = step("s0", *(step(f"s{i}", step(f"s{i + 7}")) for i in range(1, 8)))
    svg = drawing.draw(system(root, services, links))
    frames = [box for box in boxes(svg) if box[0] == 8]
    nodes = [box for box in boxes(svg) if box[0] != 8]
    assert len(frames) == 3 and len(nodes) == 16
    for group in (frames, nodes):
        for (_, y, _, height), (_, below, _, _) in itertools.pairwise(
            sorted(group, key=lambda b: b[1])
        ):
            assert y + height < below
    right = nodes[0][0] + nodes[0][2]
    width = float(ElementTree.fromstring(svg).get("viewBox").split()[2])
    for path in re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)Q([\d.]+) ', svg):
        assert all(right <= float(x) <= width - 10 for x in path)


def test_trunks_do_not_lie_on_each_other(shop):
    trunks = {}
    for start, lane, end in re.findall(
        r'd="M[\d.]+ ([\d.]+)H[\d.]+Q([\d.]+) .*?H([\d.]+)"', drawing.draw(shop)
    ):
        trunks.setdefault((start, lane), end)
    assert len({lane for _, lane in trunks}) >= 2


def test_the_plain_drawing_has_fixed_colours(shop):
    svg = drawing.plain(drawing.draw(shop))
    assert "var(" not in svg and "<style" not in svg and 'fill="#ffffff"' in svg


def test_the_rows_behind_it(shop):
    rows = drawing.steps(shop)
    assert list(rows["reached by"]) == [
        "request",
        "call",
        "call",
        "call",
        "message via events",
        "call",
    ]
    assert rows.loc[2, "round trip (ms)"] == 20.0


@pytest.mark.parametrize(("broker", "rtt_ms"), [("here", 7.0), ("there", 7.0), ("apart", 5.0)])
def test_a_message_may_go_by_a_third_place(broker, rtt_ms):
    """Round trips of the links on the way, also where the two ends have no link of their own."""
    ways = [(("here", "apart"), 2.0), (("apart", "there"), 3.0)]
    far = system(
        step("order", step("mail", via="events")),
        {"order": ("here", "a", 1), "mail": ("there", "b", 1)},
        between=ways if broker == "apart" else [(("here", "there"), 7.0)],
        brokers={"events": Made(infrastructure=broker, partitions=None)},
    )
    assert drawing.steps(far)["round trip (ms)"][1] == rtt_ms
