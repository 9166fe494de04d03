"""Published shapes of call graphs: what goes in as a system comes out of its traces.

A system with the published depths is simulated, its requests are written as traces, and the traces
are imported: the depths of the imported system are the published ones. And the bundled systems are
compared with what was measured.
"""

import math

import numpy as np
import pytest

from models import System, trust
from models.traces import read, record

REQUESTS = 4_000


def imported(of, tmp_path):
    """Depth -> share of the requests, after one way through traces."""
    file = tmp_path / "traces.json"
    record(of, REQUESTS, file, seed=1)
    return trust.depths(read(file).system)


@pytest.mark.parametrize("service", trust.META_DEPTHS)
def test_depths_at_meta_come_back_from_traces(service, tmp_path):
    """Huye et al., USENIX ATC 2023: points of the distribution, read off a figure, within 0.03."""
    published = trust.META_DEPTHS[service]
    shares = np.diff([0.0, *published, 1.0])
    found = imported(trust.of_depths(shares), tmp_path)
    for depth, share in enumerate(published, 1):
        seen = sum(part for level, part in found.items() if level <= depth)
        error = math.sqrt(share * (1 - share) / REQUESTS)
        assert 3 * error < 0.03 and abs(seen - share) <= 0.03, depth


def test_depths_at_alibaba_come_back_from_traces(tmp_path):
    """Luo et al., SoCC 2021: mean 4.27, standard deviation 3.25, mode 3, within 10 %.

    The publication gives no distribution; this one has its three figures: most requests go through
    three services, give or take one or two, and a part is anything up to 15 deep.
    """
    published = trust.ALIBABA_DEPTH
    around = np.array([math.comb(4, d) / 16 for d in range(5)])  # 1 to 5, mean 3
    anything = np.full(15, 1 / 15)  # mean 8
    part = (published["mean"] - 3) / (8 - 3)
    shares = part * anything
    shares[:5] += (1 - part) * around
    found = imported(trust.of_depths(shares), tmp_path)
    depths, weights = np.array(list(found)), np.array(list(found.values()))
    mean = weights @ depths
    assert mean == pytest.approx(published["mean"], rel=0.1)
    assert math.sqrt(weights @ (depths - mean) ** 2) == pytest.approx(published["sd"], rel=0.1)
    assert depths[weights.argmax()] == published["mode"]


@pytest.mark.parametrize("name", ["shop", "online-boutique", "social-network"])
def test_bundled_systems_look_like_what_was_measured(name):
    """Within the spread of the published depths, and with some services that call many others."""
    system = System.load(name)
    found = trust.depths(system)
    mean = sum(depth * share for depth, share in found.items())
    published = trust.ALIBABA_DEPTH
    assert abs(mean - published["mean"]) <= published["sd"]
    assert trust.calling(system) > 0


def test_shapes_counted_by_hand():
    leaf = [{"service": f"s{number}", "via": "log"} for number in range(5)]
    root = {"service": "a", "then": [{"service": "b", "then": leaf}, {"service": "a"}]}
    here = {"infrastructure": "here"}
    system = System.model_validate(
        {
            "name": "Small",
            "infrastructures": {"here": {}},
            "brokers": {"log": here},
            "services": {name: here for name in ("a", "b", *(f"s{n}" for n in range(5)))},
            "flows": {
                "deep": {"rate_per_s": 1, "root": root},
                "flat": {"rate_per_s": 3, "root": {"service": "b"}},
            },
        }
    )
    assert trust.depths(system) == {1: 0.75, 3: 0.25}
    assert trust.calling(system) == pytest.approx(1 / 7)
    assert trust.messages(system) == pytest.approx(5 / 6)
