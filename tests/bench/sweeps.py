"""Sweeps of the running example: points a second on one core, on two, and on a Dask cluster.

These are seconds of the clock, since what counts is how well two processes share the work. Within a
round all sweep the same points, one after the other; all of them are warm.
"""

import tempfile
import time

import systems
from distributed import LocalCluster

from models import sweep

PATH = "flows.place_order.rate_per_s"
POINTS, FEWEST = 60, 8
RUNS, REQUESTS = 5, 20_000  # 100,000 requests a point
ONE, TWO, DASK = "1 process", "2 processes", "Dask, 2 workers"


def points_per_s(size: float, rounds: int) -> dict[str, list[float]]:
    """Points a second in each round; `size` is the share of the usual length.

    It takes from the points, and where too few of them are left, from their requests.
    """
    points = max(FEWEST, int(size * POINTS))
    requests = int(REQUESTS * min(1.0, max(0.05, size * POINTS / FEWEST)))
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=folder,
        ) as cluster,
    ):
        places = {
            ONE: {"jobs": 1},
            TWO: {"jobs": 2},
            DASK: {"scheduler": cluster.scheduler_address},
        }
        found: dict[str, list[float]] = {name: [] for name in places}
        for seed in range(1, rounds + 1):
            for name, where in places.items():
                found[name].append(_points_per_s(points, requests, seed, **where))
    return found


def _points_per_s(points, requests, seed, **where):
    shop, rates = systems.shop(), [50 + 60 * point / points for point in range(points)]
    settings = {"replications": RUNS, "requests": requests, **where}
    sweep(shop, {PATH: rates[:FEWEST]}, **settings)  # starts what is idle
    began = time.perf_counter()
    sweep(shop, {PATH: rates}, seed=seed, **settings)
    return points / (time.perf_counter() - began)
