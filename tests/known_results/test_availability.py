"""Known results about availability: series, k of n, common causes, crews, shuffle sharding.

Each closed form of chapter 6 is played as years of outages; the rows of published cases and of V11
are compared. Tolerance: three standard errors of independent runs.
"""

import numpy as np
import pytest

from models import outages, theory
from models.outages import YEAR_HOURS, Faults

RUNS = 20


def means(measure):
    values = [measure(11 + (run << 32)) for run in range(RUNS)]
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(RUNS)


def agrees(found, exact, precision=0.05):
    """Within three standard errors, which are small enough to mean something."""
    mean, error = found
    assert error <= precision * abs(exact)
    assert abs(mean - exact) <= 3 * error, (mean, error, exact)


AZURE = [0.9999, 0.9999, 0.9999, 0.9995, 0.9999, 0.999, 0.9999, 0.99995, 0.9999, 0.999, 0.9999,
         0.9999, 0.9999, 0.999, 0.9999]  # fmt: skip


@pytest.mark.parametrize(
    ("availabilities", "unavailable"),
    [
        ([0.999] * 2, 1 - 0.998001),  # Richardson, Microservices Patterns, 2nd edition, 4.4.1
        (
            [0.9999, 0.9999, 0.9995, 0.999, 0.99995, 0.999, 0.9999, 0.999],
            1 - 0.9961557658,  # Azure/reliable-web-app-pattern-dotnet, development
        ),
        (AZURE, 1 - 0.9954586659),  # the same, production in one region
        ([0.999] * 10, 1 - 0.9900448802),  # 0.999^10, which is printed as 0.9900
    ],
)
def test_services_in_series(availabilities, unavailable):
    system = outages.series(availabilities)
    assert outages.availability(system)["flow"] == pytest.approx(1 - unavailable, abs=1e-6)
    agrees(means(lambda seed: 1 - outages.years(system, 40, seed).at_most(0)), unavailable)


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_availability_does_not_depend_on_the_distribution(cv):
    """MTBF / (MTBF + MTTR): Barlow and Proschan 1965."""
    system = Faults(infrastructure_per_year=20, infrastructure_hours=20, cv=cv).on(
        outages.regions(1)
    )
    down = 20 / (YEAR_HOURS / 20 + 20)
    agrees(means(lambda seed: 1 - outages.years(system, 100, seed).at_most(0)), down)


def redundant(n, up_hours, down_hours, beta=0.0):
    per_year = YEAR_HOURS / up_hours
    faults = Faults(infrastructure_per_year=per_year, infrastructure_hours=down_hours, beta=beta)
    return faults.on(outages.regions(n))


def test_two_of_three():
    """0.999702 at 99 % each."""
    exact = theory.k_of_n_availability(2, 3, 0.99)
    assert exact == pytest.approx(0.999702)
    assert outages.redundant_availability(2, 3, 99, 1) == pytest.approx(exact)
    system = redundant(3, 99, 1)
    agrees(means(lambda seed: 1 - outages.years(system, 100, seed).at_most(1)), 1 - exact)


@pytest.mark.parametrize(("k", "n"), [(1, 2), (2, 3), (3, 4), (1, 3)])
@pytest.mark.parametrize("beta", [0.05, 0.2, 1.0])
def test_redundancy_with_a_common_cause(k, n, beta):
    exact = 1 - outages.redundant_availability(k, n, 200, 10, beta)
    system = redundant(n, 200, 10, beta)
    agrees(means(lambda seed: 1 - outages.years(system, 100, seed).at_most(n - k)), exact)


def test_both_disks_of_a_pair_are_lost():
    """ReliaSoft HotWire 115: 0.017 failures a year, beta 0.08, one year; 0.0016, not 0.00028."""
    runs = 2_000_000
    for beta, printed in ((0.08, 0.0015995669), (0.0, 0.000284)):
        exact = theory.beta_factor_loss(0.017, beta, 1)
        assert exact == pytest.approx(printed, rel=2e-3)
        found = outages.all_lost(2, 0.017, beta, 1, runs, 1)
        agrees((found / runs, np.sqrt(exact / runs)), exact)
    everything = outages.all_lost(2, 5.0, 1.0, 1, 20_000, 1) / 20_000
    assert everything == pytest.approx(1 - np.exp(-5), abs=0.005)


@pytest.mark.parametrize(("machines", "crews"), [(2, 1), (4, 1), (4, 2)])
def test_machines_and_mechanics(machines, crews):
    """Hillier and Lieberman: two machines, 12 h up, 8 h to repair, one mechanic: 0.3103 both up."""
    exact = theory.machine_repair(machines, 12, 8, crews)
    if machines == 2:
        assert exact[0] == pytest.approx(0.3103448276)
        assert 1 - exact[0] == pytest.approx(0.6896551724)  # the mechanic is busy
    system = redundant(machines, 12, 8)
    for down in range(machines):  # P(at most so many down)
        below = float(exact[: down + 1].sum())
        agrees(
            means(lambda seed, down=down: outages.years(system, 10, seed, crews).at_most(down)),
            below,
        )


def test_two_regions_of_a_vendor_share_more_than_their_front_door():
    """Azure/reliable-web-app-pattern-dotnet: 99.978 % promised, 99.9 % asked for.

    The page takes both regions for independent, and multiplies by the services that they share.
    With a fifth of the regional unavailability in common, the target is missed.
    """
    shared, regional = AZURE[:2], AZURE[2:]
    as_printed = theory.series_availability(shared) * (1 - (1 - 0.9954586659) ** 2)
    assert as_printed == pytest.approx(0.999779, abs=1e-6)
    assert outages.redundant_services(shared, AZURE, 2, 0.0) == pytest.approx(as_printed)
    assert outages.redundant_services(shared, regional, 2, 0.0) > 0.999
    assert outages.redundant_services(shared, regional, 2, 0.2) < 0.999


@pytest.mark.parametrize(("n", "beta"), [(4, 0.1), (2, 0.5), (6, 0.02)])
def test_share_of_outages_that_hit_everything(n, beta):
    system = Faults(infrastructure_per_year=2, infrastructure_hours=2, beta=beta).on(
        outages.regions(n)
    )

    def share(seed):
        causes = outages.years(system, 800, seed).outages.cause
        return (causes == outages.CHANGES).mean()

    agrees(means(share), outages.hits_everything(n, beta))


@pytest.mark.parametrize(("waves", "wave_hours", "detect_hours"), [(4, 1.0, 2.0), (2, 5.0, 5.0)])
def test_staged_roll_out(waves, wave_hours, detect_hours):
    """Infrastructures that a bad change reaches: by formula, drawn, and in years of outages."""
    exact = outages.rollout_reach(waves, wave_hours, detect_hours)
    noticed = np.random.default_rng(1).exponential(detect_hours, 100_000)
    reached = np.minimum(noticed // wave_hours + 1, waves) / waves
    agrees((reached.mean(), reached.std() / np.sqrt(len(reached))), exact)
    faults = Faults(2, 1, beta=1, waves=waves, wave_hours=wave_hours, detect_hours=detect_hours)
    system = faults.on(outages.regions(4))
    agrees(means(lambda seed: outages.years(system, 300, seed).incidents().flows_stopped.mean()),
           exact)  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "shard", "printed"),
    [
        (8, 2, [0.536, 0.429, 0.036]),
        (100, 5, [0.770, 0.211, 0.0184, 0.0006]),
        (54, 4, [None, 0.2479, 0.0232, 0.0006]),
    ],
)
def test_shuffle_sharding(workers, shard, printed):
    """V11: AWS Well-Architected (8 choose 2 = 28), its Labs (100 choose 5), the AWS blog of 2014."""
    exact = theory.shard_overlap(workers, shard)
    for value, expected in zip(exact, printed, strict=False):
        if expected is not None:
            assert value == pytest.approx(expected, abs=6e-4)
    customers = 20_000
    counts = np.bincount(outages.shared_workers(workers, shard, customers, 1), minlength=shard + 1)
    for count, probability in zip(counts, exact, strict=True):
        error = np.sqrt(probability * (1 - probability) / customers)
        assert abs(count / customers - probability) <= 3 * error + 1 / customers
    if (workers, shard) == (8, 2):
        assert exact[2] == pytest.approx(1 / 28)  # 25 % with four plain shards of two


def test_the_tipping_point_of_a_retry_storm_has_a_shape():
    """Recovery goes from all seeds to none as the trigger lasts longer (PierreZ/moonpool, pull
    request 193: 64, 64, 0, 0 of 64 recover), and as the base load rises above capacity over tries
    (simple_collapse_sim of Brooker: collapse at 64.3/s, vulnerable above a third of it)."""
    by_trigger = [
        outages.Storm(base_per_s=8.0, spike_s=spike_s).recovers(12, 1, 60.0)
        for spike_s in (0.1, 0.5, 1.0, 4.0)
    ]
    assert by_trigger == sorted(by_trigger, reverse=True)
    assert by_trigger[0] == 12 and by_trigger[-1] == 0
    assert outages.Storm(work_ms=1000 / 64.3).vulnerable_per_s == pytest.approx(21.4, abs=0.05)
    by_load = [outages.Storm(base_per_s=rate).recovers(12, 1, 400.0) for rate in (5, 6, 7, 8)]
    assert by_load[:2] == [12, 12] and by_load[2:] == [0, 0]
