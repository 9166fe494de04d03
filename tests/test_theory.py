"""Closed forms against published and independently derived values.

The letter after the id says where the value is from: P printed in the source and recomputed; F
formula and parameters from the source, value computed; R printed value quoted at second hand,
recomputed; D derived (Markov chain or closed form) because none is printed.
"""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from models import theory as t

HOURS = 1.0
MINUTES = 60.0

# id, mark, what is computed, value, absolute tolerance, source
# fmt: off
ROWS = [
    ("mm1-line-readme", "P", lambda: t.mm1(1, 2).mean_number, 1, 1e-9, "line-solver README table"),
    ("mm1-line-readme-W", "P", lambda: t.mm1(1, 2).mean_sojourn, 1, 1e-9, "line-solver README"),
    *[
        (f"mm1-asimpy-{rho}", "P", lambda rho=rho: t.mm1(rho, 1).mean_sojourn, w, 5e-5,
         "Wilson, asimpy, output/14_sojourn.txt, column theory_W")
        for rho, w in ((0.1, 1.1111), (0.3, 1.4286), (0.5, 2.0), (0.7, 3.3333), (0.9, 10.0))
    ],
    ("mm1-avar", "F", lambda: t.mm1_wait_asymptotic_variance(0.8, 1), 1976, 1e-9, "Whitt 1989"),
    ("mmc-ciw-bank3-Wq", "F", lambda: t.mmc(0.2, 0.1, 3).mean_wait, 4.444444, 1e-6,
     "Ciw documentation, Getting started: the bank (Ciw itself prints 5.62649 of 10 trials)"),
    ("jackson-ciw-cafe-W3", "F",
     lambda: t.jackson([0.3, 0.2, 0], [1, 0.4, 0.5], [1, 2, 2],
                       [[0, 0.3, 0.7], [0, 0, 1], [0, 0, 0]]).mean_sojourns[2],
     2.66666667, 1e-8, "Jackson 1957; network of Ciw tutorial II"),
    ("erlangC-R", "F", lambda: t.erlang_c(0.5 / 0.7, 2), 0.1879699248, 1e-9,
     "R package queueing, C_erlang.Rd"),
    ("erlangB-R", "F", lambda: t.erlang_b(0.5 / 0.7, 2), 0.1295336788, 1e-9,
     "R package queueing, B_erlang.Rd"),
    ("erlangB-15", "P", lambda: t.erlang_b_load(0.01, 15), 8.108, 5e-4, "erlang.com manual"),
    ("erlangB-tab-5", "P", lambda: t.erlang_b_load(0.01, 5), 1.4, 0.05,
     "GlobalSpec, Carrier Grade VoIP, appendix table"),
    ("erlangB-tab-9", "P", lambda: t.erlang_b_load(0.01, 9), 3.8, 0.05,
     "GlobalSpec, Carrier Grade VoIP, appendix table"),
    ("erlangB-ext-10", "P", lambda: t.extended_erlang_b(5.5, 10, 0.5), 0.03149, 5e-6,
     "erlang.com, extended Erlang B: 10 lines miss the target of 3 %"),
    ("erlangB-ext-11", "P", lambda: t.extended_erlang_b(5.5, 11, 0.5), 0.01504, 5e-6,
     "erlang.com, extended Erlang B: 11 lines meet it"),
    ("erlangC-50-wq", "R", lambda: t.mmc(48, 1, 50).mean_wait * MINUTES, 20.8337, 0.05,
     "Garnett, Mandelbaum and Reiman 2002, table 1 (prints 20.8 s)"),
    ("erlangA-50-ab", "R", lambda: t.erlang_a(48, 1, 50, 0.5).p_abandon, 0.0309122492, 1e-8,
     "Garnett, Mandelbaum and Reiman 2002, table 1 (prints 3.1 %)"),
    ("mmck-simmer-N", "F", lambda: t.mmck(3, 4, 2, 3).mean_number, 0.7623400366, 1e-9,
     "r-simmer, vignette simmer-06-queueing"),
    ("ps-ciw-3", "P", lambda: t.mm1_processor_sharing(3, 1 / 5), 0.5, 1e-9,
     "Ciw tests/test_processor_sharing.py"),
    ("ps-ciw-4", "P", lambda: t.mm1_processor_sharing(4, 1 / 5), 1.0, 1e-9,
     "Ciw tests/test_processor_sharing.py"),
    *[
        (f"psthr-ciw-p{n}", "P", lambda n=n: t.mmc_state(n, 10, 12, 3), p, 1e-9,
         "Ciw tests/test_processor_sharing.py, test_capacitated_ps")
        for n, p in enumerate((0.4321329639889196, 0.3601108033240997, 0.1500461680517082,
                               0.041679491125474505))
    ],
    ("prio-ciw-0", "P", lambda: t.priority_sojourns([0.2, 0.6], [1, 1])[0], 2.0, 1e-9,
     "Ciw tests/test_simulation.py, test_priority_system_compare_literature"),
    ("prio-ciw-1", "P", lambda: t.priority_sojourns([0.2, 0.6], [1, 1])[1], 6.0, 1e-9,
     "Ciw tests/test_simulation.py, test_priority_system_compare_literature"),
    ("md1-08", "F", lambda: t.md1(0.8, 1).mean_wait, 2.0, 1e-9, "Pollaczek-Khinchine"),
    ("md1-09-Lq", "F", lambda: t.md1(0.9, 1).mean_queue, 4.05, 1e-9, "Pollaczek-Khinchine"),
    ("mg1-scv4", "D", lambda: t.mg1(0.8, 1, 4).mean_wait, 10.0, 1e-9, "Pollaczek-Khinchine"),
    ("mdc-2-0.8", "F", lambda: t.mdc_mean_wait(1.6, 1, 2), 0.9032838794, 1e-9,
     "Crommelin 1932; LINE 3.0.8.0 qsys_mdc_crommelin"),
    ("mdc-5-0.9", "F", lambda: t.mdc_mean_wait(4.5, 1, 5), 0.7766951582, 1e-9,
     "Crommelin 1932; LINE 3.0.8.0 qsys_mdc_crommelin"),
    ("dm1-0.5", "F", lambda: t.dm1(0.5, 1).p_busy, 0.2031878699, 1e-9, "Kleinrock 1975, 6.4"),
    ("dm1-0.9", "F", lambda: t.dm1(0.9, 1).p_busy, 0.8068998329, 1e-9, "Kleinrock 1975, 6.4"),
    ("pasta-counter", "F", lambda: t.dm1(0.8, 1).p_busy - t.dm1(0.8, 1).utilisation,
     -0.1713702035, 1e-9, "Kleinrock 1975, 6.4"),
    ("batch2", "F", lambda: t.batch_mg1(0.4, 2, 1).mean_sojourn, 7.5, 1e-9,
     "Gross and Harris, 3.1"),
    ("bd-any-L", "D", lambda: t.breakdowns_any_time(0.5, 1, 0.05, 0.2).mean_number, 3.0, 1e-9,
     "White and Christie 1958; Markov chain"),
    ("bd-busy-W", "F", lambda: t.breakdowns_in_service(0.5, 1, 0.05, 0.2).mean_sojourn, 5.0, 1e-9,
     "Avi-Itzhak and Naor 1963"),
    ("bd-busy-L", "F", lambda: t.breakdowns_in_service(0.5, 1, 0.05, 0.2).mean_number, 2.5, 1e-9,
     "Avi-Itzhak and Naor 1963"),
    ("vac-W", "F", lambda: t.vacation_sojourn(0.8, 1, 1, 2), 7.0, 1e-9, "Fuhrmann and Cooper 1985"),
    ("orbit-07-05", "F", lambda: t.retrial_orbit(0.7, 1, 0.5), 4.9, 1e-9, "Falin and Templeton"),
    ("orbit-07-5", "F", lambda: t.retrial_orbit(0.7, 1, 5), 1.96, 1e-9, "Falin and Templeton"),
    ("repair-2m", "F", lambda: t.machine_repair(2, 12 * HOURS, 8 * HOURS)[0], 0.3103448276, 1e-9,
     "Hillier and Lieberman"),
    ("repair-2m-busy", "F", lambda: 1 - t.machine_repair(2, 12 * HOURS, 8 * HOURS)[0],
     0.6896551724, 1e-9, "Hillier and Lieberman"),
    ("laz-open-0.2", "F", lambda: t.open_network_response(0.2, [0.605, 2.1, 1.35]), 6.1582868625,
     1e-8, "Lazowska et al. 1984, p. 113"),
    *[
        (f"laz117-{name}", "P",
         lambda i=i: t.mean_value_analysis([3], [[0.605, 2.1, 1.35]], [15]).queues[0, i], q, 5e-5,
         "Lazowska et al. 1984, p. 117")
        for i, (name, q) in enumerate((("cpu", 0.0976), ("disk1", 0.3947), ("disk2", 0.235)))
    ],
    ("laz117-X", "F", lambda: t.mean_value_analysis([3], [[0.605, 2.1, 1.35]], [15]).throughput[0],
     0.1515164900, 1e-8, "Lazowska et al. 1984, p. 117"),
    *[
        (f"laz131-{i + 1}-batch", "P",
         lambda i=i: t.mean_value_analysis([10, 25], [[1, 0.09], [0.1, 0.9]], [0, 30]).queues[0, i],
         q, 1e-3, "Lazowska et al. 1984, p. 131")
        for i, q in enumerate((9.717, 0.2827))
    ],
    ("mrepair-4", "P", lambda: t.mean_value_analysis([4], [[0.5]], [1]).queues[0, 0], 2.19, 5e-3,
     "LQNS V6, libmva/regression/test2nc.cc"),
    ("mva-3-3", "P", lambda: t.mean_value_analysis([3, 3], [[1], [1]], [4, 4]).queues[0, 0], 1.234,
     1e-3, "LQNS V6, libmva/regression/test11.cc"),
    ("hold-cap-1", "D", lambda: t.hold_capacity(1), 0.5, 1e-9, "closed two-station product form"),
    ("hold-cap-2", "D", lambda: t.hold_capacity(2), 0.8, 1e-9, "closed two-station product form"),
    ("hold-cap-4", "D", lambda: t.hold_capacity(4), 0.9846153846, 1e-9,
     "closed two-station product form"),
    ("hold-W-3", "D", lambda: t.hold_response(0.8, 3), 7.5240410165, 1e-9, "Markov chain"),
    ("fj2-0.5", "F", lambda: t.fork_join_two(0.5, 1), 2.875, 1e-9, "Nelson and Tantawi 1988"),
    ("fj2-0.8", "F", lambda: t.fork_join_two(0.8, 1), 7.0, 1e-9, "Nelson and Tantawi 1988"),
    ("fjNT-4-0.8", "F", lambda: t.fork_join_approximation(4, 0.8, 1), 8.9303030303, 1e-9,
     "Nelson and Tantawi 1988; Thomasian 2014, eq. 3"),
    ("fjNT-16-0.8", "F", lambda: t.fork_join_approximation(16, 0.8, 1), 13.2235, 1e-4,
     "Nelson and Tantawi 1988; Thomasian 2014, eq. 3"),
    ("fjNT-8-0.5", "F", lambda: t.fork_join_approximation(8, 0.5, 1), 4.7848, 1e-4,
     "Nelson and Tantawi 1988; Thomasian 2014, eq. 3"),
    ("splitmerge-2", "F", lambda: t.split_merge_capacity(2), 0.6666666667, 1e-9, "Thomasian 2014"),
    ("splitmerge-5", "F", lambda: t.split_merge_capacity(5), 0.4379562044, 1e-9, "Thomasian 2014"),
    ("max-exp-5", "F", lambda: t.max_exponentials(5), 2.2833333333, 1e-9, "H_5; Rényi 1953"),
    ("tail-100", "P", lambda: t.tail_at_scale(0.01, 100), 0.6339676587, 1e-9,
     "Dean and Barroso 2013 (prints 63 %)"),
    ("tail-2000", "P", lambda: t.tail_at_scale(1e-4, 2000), 0.181, 5e-4,
     "Dean and Barroso 2013 (prints 18 %)"),
    *[
        (f"p2c-fp-{rho}", "R", lambda rho=rho: t.two_choices_sojourn(rho), w, 1e-8,
         "Mitzenmacher 2001, prediction column")
        for rho, w in ((0.5, 1.2656860361), (0.7, 1.6144537703), (0.8, 1.9473633859),
                       (0.9, 2.6140573773), (0.99, 5.4319965792))
    ],
    ("pool-4", "F", lambda: t.pooled_and_partitioned(3.2, 1, 4)[0].mean_sojourn, 1.74554059, 1e-8,
     "Erlang C"),
    ("pool-12", "F", lambda: t.pooled_and_partitioned(9.6, 1, 12)[0].mean_sojourn, 1.15368396, 1e-8,
     "Erlang C"),
    ("partitioned-12", "F", lambda: t.pooled_and_partitioned(9.6, 1, 12)[1].mean_sojourn, 5.0, 1e-9,
     "M/M/1"),
    ("linger-100-B", "D", lambda: t.linger(100, 16, 0.1).mean_batch, 10.8965213203, 1e-8,
     "structure of Paolieri et al. 2025"),
    ("linger-100-D", "D", lambda: t.linger(100, 16, 0.1).mean_delay, 0.0534459421, 1e-8,
     "structure of Paolieri et al. 2025"),
    ("linger-20-B", "D", lambda: t.linger(20, 10, 0.1).mean_batch, 2.999943588, 1e-8,
     "structure of Paolieri et al. 2025"),
    ("drain", "D", lambda: t.fluid_backlog(80, 100, 600).drain_time, 2400, 1e-9, "fluid"),
    ("drain-peak", "D", lambda: t.fluid_backlog(80, 100, 600).peak, 48_000, 1e-9, "fluid"),
    ("drain-delayed", "D", lambda: t.fluid_backlog(80, 100, 600).delayed, 240_000, 1e-9, "fluid"),
    ("V2-drain", "P", lambda: t.fluid_stream(1e6, 43264, 21822).drain_time, 45.9, 0.1,
     "RabbitMQ 3.13 run: the drain ended after 45.9 s"),
    ("V2-wait", "F", lambda: t.fluid_stream(1e6, 43264, 21822).longest_wait, 22.7, 0.05,
     "RabbitMQ 3.13 run: fluid wait of the last message (measured 24.9 s at most)"),
    ("V1-busy-1", "P", lambda: t.prefetch(1, 4, 50).busy, 0.038, 5e-4, "RabbitMQ blog 2012"),
    ("V1-busy-26", "P", lambda: t.prefetch(26, 4, 50).busy, 1.0, 1e-12, "RabbitMQ blog 2012"),
    ("V1-wait-26", "P", lambda: t.prefetch(26, 4, 50).buffer_wait, 0.0, 1e-12, "RabbitMQ blog 2012"),
    ("V1-wait-51", "P", lambda: t.prefetch(51, 4, 50).buffer_wait, 100, 1e-9, "RabbitMQ blog 2012"),
    # The blog prints 880 ms = (26 - 4) x 40, with the 3.5 messages on the way rounded up to 4.
    ("V1-wait-40", "D", lambda: t.prefetch(26, 40, 50).buffer_wait, 900, 1e-9, "cycle of 26 x 40 ms"),
    ("retry-amp-3x4", "F", lambda: t.retry_amplification(3, 4), 81, 1e-12, "3^4"),
    ("retry-mean", "F", lambda: t.mean_attempts(0.1, 3), 1.11, 1e-12, "(1-p^3)/(1-p)"),
    ("V6-success", "F", lambda: t.retry_success(0.5, 4), 0.9375, 1e-12, "Brooker retry_sim"),
    ("V6-load", "F", lambda: t.mean_attempts(0.5, 4), 1.875, 1e-12, "Brooker retry_sim"),
    ("saga-seq-ok", "D", lambda: t.saga_commit([0.02] * 5), 0.9039207968, 1e-10, "arithmetic"),
    ("saga-seq-comp", "D", lambda: t.saga_compensations_sequential([0.02] * 5), 0.1882769728, 1e-10,
     "sum of k q^k p"),
    ("saga-par-comp", "D", lambda: t.saga_compensations_parallel([0.02] * 5), 0.3803960160, 1e-10,
     "sum of q minus n times the product"),
    ("avail-rich-2", "P", lambda: t.series_availability([0.999] * 2), 0.998001, 1e-9,
     "Richardson, Microservices Patterns, 2nd ed., 4.4.1"),
    ("avail-azure-dev", "P",
     lambda: t.series_availability([0.9999, 0.9999, 0.9995, 0.999, 0.99995, 0.999, 0.9999, 0.999]),
     0.9961557658, 1e-9, "Azure reliable web app pattern, sla-calculation.md"),
    ("avail-azure-1r", "P",
     lambda: t.series_availability([0.9999] * 10 + [0.9995, 0.999, 0.99995, 0.999, 0.999]),
     0.9954586659, 1e-9, "Azure reliable web app pattern, sla-calculation.md"),
    ("avail-raid", "F", lambda: t.beta_factor_loss(0.017, 0.08, 1), 0.0015995669, 1e-9,
     "parameters of ReliaSoft HotWire 115"),
    ("avail-raid-independent", "F", lambda: t.beta_factor_loss(0.017, 0, 1), 0.000284, 5e-7,
     "parameters of ReliaSoft HotWire 115"),
    ("avail-2of3", "F", lambda: t.k_of_n_availability(2, 3, 0.99), 0.999702, 1e-12, "binomial"),
    *[
        (f"avail-min-{a}", "P", lambda a=a: t.downtime(a, 30 * 24 * 60), m, 1e-9,
         "availability table, Microsoft")
        for a, m in ((0.999, 43.2), (0.9999, 4.32), (0.99999, 0.432))
    ],
    ("slo-burn-1h", "P", lambda: t.burn_rate(0.02, 1, 720), 14.4, 1e-9, "SRE Workbook, chapter 5"),
    ("slo-burn-6h", "P", lambda: t.burn_rate(0.05, 6, 720), 6.0, 1e-9, "SRE Workbook, chapter 5"),
    ("slo-burn-3d", "P", lambda: t.burn_rate(0.1, 72, 720), 1.0, 1e-9, "SRE Workbook, chapter 5"),
    *[
        (f"slo-exhaust-{burn}", "R", lambda burn=burn: t.time_to_exhaustion(burn, 30.0), days, 1e-12,
         "SRE Workbook, chapter 5")
        for burn, days in ((1, 30), (2, 15), (10, 3), (1000, 43.2 / 1440))
    ],
    *[
        (f"sprt-nist-{name}", "R",
         lambda name=name: getattr(t.sequential_test(0.01, 0.1, 0.05, 0.1), name), value, 1e-9,
         "NIST e-Handbook 6.2.6")
        for name, value in (("k", 2.3978952728), ("h1", 0.9388616026), ("h2", 1.2053786463),
                            ("s", 0.0397474322))
    ],
    ("sprt-nist-first", "R",
     lambda: math.ceil(t.sequential_test(0.01, 0.1, 0.05, 0.1).h1
                       / t.sequential_test(0.01, 0.1, 0.05, 0.1).s), 24, 0, "NIST e-Handbook 6.2.6"),
    ("sprt-canary-asn0", "F", lambda: t.sequential_test(0.001, 0.002, 0.05, 0.05).mean_size_good,
     8622, 0.5, "Wald 1947"),
    ("sprt-canary-asn1", "F", lambda: t.sequential_test(0.001, 0.002, 0.05, 0.05).mean_size_bad,
     6851, 0.5, "Wald 1947"),
    ("ab-1030", "R", lambda: t.two_proportion_size(0.2, 0.05), 1030.22, 0.01, "Miller, evanmiller.org"),
    ("canary-fixed", "F", lambda: t.fixed_test_size(0.001, 0.002, 0.05, 0.05), 15745, 0,
     "normal approximation"),
    ("rule3", "F", lambda: t.clean_trials(0.01), 299, 0, "ln 0.05 / ln 0.99"),
    ("V10-mm4-C", "D", lambda: t.erlang_c(3.2, 4), 0.5964, 5e-5, "Erlang C"),
    ("V10-mm4-Wq", "D", lambda: t.mmc(3.2, 1, 4).mean_wait, 0.7455, 5e-5, "Erlang C"),
    ("V10-mm8-0.8", "D", lambda: t.mmc(6.4, 1, 8).mean_wait, 0.2860, 5e-5, "Erlang C"),
    ("V10-mm8-0.9", "D", lambda: t.mmc(7.2, 1, 8).mean_wait, 0.8769, 5e-5, "Erlang C"),
    *[
        (f"V11-{n}-{k}-{i}", "P", lambda n=n, k=k, i=i: t.shard_overlap(n, k)[i], p, tol,
         "MacCárthaigh 2014; AWS Well-Architected labs")
        for n, k, i, p, tol in ((8, 2, 0, 0.536, 5e-4), (8, 2, 1, 0.429, 5e-4),
                                (8, 2, 2, 0.036, 5e-4), (100, 5, 0, 0.770, 5e-4),
                                (100, 5, 1, 0.211, 5e-4), (100, 5, 2, 0.0184, 5e-5),
                                (54, 4, 1, 0.2479, 5e-5), (54, 4, 2, 0.0232, 5e-5),
                                (54, 4, 3, 0.0006, 5e-5))
    ],
    ("V16", "F", lambda: t.routing_factor(0.3, 10), 3.7, 1e-12, "Chen et al. 2019, inputs"),
]
# fmt: on


@pytest.mark.parametrize(
    ("compute", "value", "tolerance"),
    [row[2:5] for row in ROWS],
    ids=[f"{name}[{mark}] {source}" for name, mark, *_, source in ROWS],
)
def test_known_value(compute, value, tolerance):
    assert float(compute()) == pytest.approx(value, abs=tolerance + 1e-12 * abs(value), rel=0)


# --- limits and relations ---------------------------------------------------------------------

loads = st.floats(0.01, 0.97)
counts = st.integers(1, 30)


@given(loads, st.floats(0.1, 10))
def test_one_server_of_mmc_is_mm1(rho, mu):
    queue = t.mmc(rho * mu, mu, 1)
    assert queue.mean_sojourn == pytest.approx(1 / (mu - rho * mu))
    assert queue.mean_number == pytest.approx(rho / (1 - rho))
    assert queue.p_wait == pytest.approx(rho)


@given(st.floats(0.05, 3), counts)
def test_no_room_to_wait_is_erlang_b(rho, servers):
    lost = t.mmck(rho * servers, 1, servers, servers)
    assert lost.blocking == pytest.approx(float(t.erlang_b(rho * servers, servers)))
    assert lost.mean_wait == pytest.approx(0, abs=1e-12)


@given(st.floats(0.05, 0.7), st.integers(1, 8))
def test_much_room_to_wait_is_mmc(rho, servers):
    assert t.mmck(rho * servers, 1, servers, 400).mean_number == pytest.approx(
        float(t.mmc(rho * servers, 1, servers).mean_number)
    )


@given(loads, counts)
def test_more_load_waits_longer_and_more_servers_shorter(rho, servers):
    now = t.mmc(rho * servers, 1, servers).mean_wait
    assert t.mmc((rho + 0.01) * servers, 1, servers).mean_wait > now
    assert t.mmc(rho * servers, 1, servers + 1).mean_wait < now


@given(loads, st.floats(1e-3, 0.999), st.integers(1, 12))
def test_quantiles_invert_the_tails(rho, share, servers):
    at = t.mmc_sojourn_quantile(share, rho * servers, 1, servers)
    assert t.mmc_sojourn_tail(at, rho * servers, 1, servers) == pytest.approx(1 - share, abs=1e-9)
    wait = t.mmc_wait_quantile(share, rho * servers, 1, servers)
    assert t.mmc_wait_tail(wait, rho * servers, 1, servers) <= 1 - share + 1e-9


@pytest.mark.parametrize("servers", [1, 2, 5, 9])
@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_sojourn_tail_integrates_to_the_mean(rho, servers):
    grid = np.linspace(0, 400, 400_001)
    area = np.trapezoid(t.mmc_sojourn_tail(grid, rho * servers, 1, servers), grid)
    assert area == pytest.approx(float(t.mmc(rho * servers, 1, servers).mean_sojourn), rel=1e-6)


def test_sojourn_tail_is_smooth_where_the_two_rates_meet():
    # (c-1)μ = λ divides by zero in the usual form
    exact, near = (t.mmc_sojourn_tail(2.0, rate, 1, 3) for rate in (2.0, 2.0 + 1e-7))
    assert exact == pytest.approx(float(near), rel=1e-6)


@pytest.mark.parametrize(
    ("servers", "rho", "exact"), [(2, 0.8, 0.9032838794), (5, 0.9, 0.7766951582)]
)
def test_several_servers_with_constant_service(servers, rho, exact):
    """[F] Crommelin 1932; LINE qsys_mdc_crommelin. The approximation says itself how close it is."""
    assert t.mgc_wait(servers * rho, 1, servers, 0) == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize("servers", [2, 4, 8, 16])
@pytest.mark.parametrize("rho", [0.5, 0.7, 0.9, 0.98])
def test_mgc_wait_is_close_to_constant_service(servers, rho):
    exact = t.mdc_mean_wait(servers * rho, 1, servers)
    assert t.mgc_wait(servers * rho, 1, servers, 0) == pytest.approx(exact, rel=0.02)


@given(loads, st.integers(1, 30), st.floats(0, 1))
def test_mgc_wait_is_exact_at_its_ends(rho, servers, scv):
    exact = t.mg1(rho, 1, scv).mean_wait
    assert t.mgc_wait(rho, 1, 1, scv) == pytest.approx(exact)
    exact = t.mmc(rho * servers, 1, servers).mean_wait
    assert t.mgc_wait(rho * servers, 1, servers, 1) == pytest.approx(exact)


@given(loads, st.floats(0.1, 10), st.floats(0, 9))
def test_kingman_and_allen_cunneen_are_exact_for_poisson_arrivals(rho, service, scv):
    exact = t.mg1(rho / service, service, scv).mean_wait
    assert t.kingman_wait(rho / service, service, 1, scv) == pytest.approx(exact)
    assert t.allen_cunneen_wait(rho / service, service, 1, 1, scv) == pytest.approx(exact)


@given(st.floats(0.2, 0.97))
def test_special_cases_of_renewal_arrivals(rho):
    one_phase = t.gim1(t.erlang_transform(1 / rho, 1), rho, 1)
    assert one_phase.p_busy == pytest.approx(rho)
    many = t.gim1(t.erlang_transform(1 / rho, 10_000), rho, 1)
    assert many.p_busy == pytest.approx(t.dm1(rho, 1).p_busy, rel=1e-2, abs=1e-12)
    bursty = t.gim1(t.hyperexponential_transform(1 / rho, 4.0), rho, 1)
    assert many.p_busy < rho < bursty.p_busy


@given(loads)
def test_constant_service_of_one_server(rho):
    assert t.mdc_mean_wait(rho, 1, 1) == pytest.approx(float(t.md1(rho, 1).mean_wait), rel=1e-9)


@given(loads, st.floats(0.1, 5), st.floats(0, 4))
def test_batches_of_one_are_mg1(rho, service, scv):
    assert t.batch_mg1(rho / service, 1, service, scv).mean_wait == pytest.approx(
        float(t.mg1(rho / service, service, scv).mean_wait)
    )


@given(st.floats(0.05, 0.95), st.floats(0.2, 4), st.floats(0.2, 4))
def test_one_held_worker_is_mg1_with_the_sum_as_service(share, work, callee):
    rate = share / (work + callee)
    scv = (work**2 + callee**2) / (work + callee) ** 2
    assert t.hold_response(rate, 1, work, callee) == pytest.approx(
        float(t.mg1(rate, work + callee, scv).mean_sojourn), rel=1e-7
    )


@pytest.mark.parametrize("servers", [1, 2])
def test_many_held_workers_are_two_queues_in_a_row(servers):
    rate = 0.7 * servers
    in_a_row = 1 + float(t.mmc(rate, 1, servers).mean_sojourn)
    assert t.hold_response(rate, 60, 1, 1, servers) == pytest.approx(in_a_row, rel=1e-6)
    waits = [t.hold_response(0.45, workers) for workers in (1, 2, 3, 8)]
    assert waits == sorted(waits, reverse=True)


@given(
    st.integers(1, 40), st.floats(0.1, 5), st.floats(0.1, 5), st.integers(1, 4), st.floats(0, 50)
)
def test_held_capacity_bounds(workers, work, callee, servers, trip):
    capacity = t.hold_capacity(workers, work, callee, servers, trip)
    assert capacity <= t.held_capacity(workers, work, trip + callee) + 1e-9
    assert capacity <= servers / callee + 1e-9
    assert t.hold_capacity(workers + 1, work, callee, servers, trip) >= capacity - 1e-9
    if workers <= servers:
        assert capacity == pytest.approx(float(t.held_capacity(workers, work, trip + callee)))


@given(st.integers(2, 8), st.floats(0.05, 0.4))
def test_fan_outs_in_order(branches, rho):
    rate = rho / t.harmonic(branches)
    blocking = float(t.split_merge(branches, rate).mean_sojourn)
    free = float(t.fork_join_approximation(branches, rate, 1))
    assert t.max_exponentials(branches) < free < blocking


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=6))
def test_largest_of_exponentials(means):
    largest = t.max_of_exponentials(means)
    assert max(means) <= largest + 1e-9 and largest <= sum(means) + 1e-9
    same = t.max_of_exponentials([means[0]] * len(means))
    assert same == pytest.approx(float(t.max_exponentials(len(means), means[0])))


def test_mean_of_maximum_by_integration():
    assert t.mean_of_maximum(lambda x: 1 - math.exp(-x), 5) == pytest.approx(137 / 60)


@given(st.integers(1, 8), st.floats(0.01, 0.9))
def test_saga_by_enumeration(n, p):
    failures = [p * (i + 1) / n for i in range(n)]
    sequential = parallel = commit = 0.0
    for outcome in range(2**n):
        fails = [bool(outcome >> i & 1) for i in range(n)]
        weight = math.prod(q if f else 1 - q for q, f in zip(failures, fails, strict=True))
        if any(fails):
            sequential += weight * fails.index(True)
            parallel += weight * (n - sum(fails))
        else:
            commit += weight
    assert t.saga_commit(failures) == pytest.approx(commit)
    assert t.saga_compensations_sequential(failures) == pytest.approx(sequential, abs=1e-12)
    assert t.saga_compensations_parallel(failures) == pytest.approx(parallel, abs=1e-12)


@given(st.floats(0, 0.999), st.integers(1, 10_000))
def test_leaf_quantile_inverts_the_tail(q, n):
    assert t.tail_at_scale(1 - t.leaf_quantile(q, n), n) == pytest.approx(1 - q, abs=1e-6)


@given(st.floats(1, 90), st.floats(0, 99), st.floats(1, 1000), st.floats(1, 500))
def test_backlog_by_stepping(rate, slow, length, fast):
    fluid = t.fluid_backlog(rate, 100, length, capacity_during=slow, arrival_rate_during=fast)
    assert fluid.peak == pytest.approx(max(0, fast - slow) * length)
    assert fluid.peak == pytest.approx(fluid.drain_time * (100 - rate))
    assert (fluid.longest_wait > 0) == (fluid.peak > 0)


def test_an_outage_delays_its_first_message_for_all_of_it():
    assert t.fluid_backlog(80, 100, 600).longest_wait == 600
    burst = t.fluid_backlog(80, 100, 60, capacity_during=100, arrival_rate_during=400)
    assert (burst.peak, burst.longest_wait) == (18_000, 180)


def test_linger_without_a_limit_or_without_time():
    assert t.linger(5, 1, 10).mean_batch == 1
    assert t.linger(5, 10, 0) == (1, 0)
    assert t.linger(20, 1000, 0.1).mean_batch == pytest.approx(3)


def test_erlang_a_is_between_loss_and_waiting():
    patient = t.erlang_a(8, 1, 10, 1e-7)
    assert patient.mean_wait == pytest.approx(float(t.mmc(8, 1, 10).mean_wait), rel=1e-4)
    assert t.erlang_a(8, 1, 10, 1e7).p_abandon == pytest.approx(float(t.erlang_b(8, 10)), rel=1e-4)
    assert t.erlang_a(30, 1, 10, 0.5).busy_servers == pytest.approx(10, rel=1e-3)


def test_breakdowns_at_any_time_against_the_chain():
    rate, mu, fail, repair, top = 0.3, 1.0, 0.2, 0.5, 400
    size = 2 * top
    chain = np.zeros((size, size))
    for n in range(top):
        for up in (0, 1):
            here = 2 * n + up
            chain[here, 2 * n + 1 - up] += fail if up else repair
            if n + 1 < top:
                chain[here, here + 2] += rate
            if up and n:
                chain[here, here - 2] += mu
    np.fill_diagonal(chain, -chain.sum(axis=1))
    chain[:, 0] = 1
    p = np.linalg.solve(chain.T, np.eye(size)[0])
    assert t.breakdowns_any_time(rate, mu, fail, repair).mean_number == pytest.approx(
        float(p @ (np.arange(size) // 2))
    )


@given(st.integers(1, 40), st.floats(0.001, 0.9))
def test_erlang_b_load_and_servers_invert(servers, blocking):
    load = t.erlang_b_load(blocking, servers)
    assert t.erlang_b(load, servers) == pytest.approx(blocking, rel=1e-9)
    assert t.erlang_b_servers(load * (1 - 1e-9), blocking) == servers


def test_run_length_gives_the_half_width():
    customers = t.run_length(0.01, 0.8, 1)
    half_width = 1.959964 * math.sqrt(1976 / customers)
    assert half_width == pytest.approx(0.04, rel=1e-4)


def test_arrays_give_what_numbers_give():
    rho, servers = np.array([[0.2], [0.9]]), np.array([1, 3, 8])
    grid = t.mmc(rho * servers, 1.0, servers).mean_wait
    assert grid.shape == (2, 3)
    assert grid[1, 2] == pytest.approx(float(t.mmc(7.2, 1, 8).mean_wait))
    assert t.chain_capacity(16, 5, np.array([0.5, 100.0]), 3).shape == (2,)
    assert t.tail_at_scale(np.array([0, 0.01, 1]), 100) == pytest.approx([0, 0.6339676587, 1])
    assert t.mean_attempts(np.array([0.0, 1.0]), 3) == pytest.approx([1, 3])


def test_distance_costs_capacity_as_well_as_time():
    near, far = (t.chain_response(5, trip, 3) for trip in (0.5, 100))
    assert (near, far) == (21.5, 320)
    assert t.chain_capacity(16, 5, 100, 3) == 16 / 320
    assert t.largest_round_trip(320, 5, 3) == 100
    assert t.fan_out_response(2, 4, 10, 3) == 44
    assert t.fan_out_response(2, 4, 10, 3, in_parallel=True) == pytest.approx(12 + 4 * 11 / 6)


# --- tiny, huge, and nearly at capacity ---------------------------------------------------------


def near(value, rel=1e-12):
    return pytest.approx(float(value), rel=rel, abs=0)


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1.0, 5000.0, 1e6, 1e200])
def test_mean_of_maximum_in_any_unit_of_time(scale):
    """[D] Rényi 1953, n/(n+1) of uniforms, Lomax mean, a constant."""
    for n in (1, 5, 10**6):
        found = t.mean_of_maximum(lambda x: -math.expm1(-x / scale), n)
        assert found == near(scale * math.fsum(1 / k for k in range(1, n + 1)), 1e-9)
        assert t.mean_of_maximum(lambda x: min(x / scale, 1), n) == near(scale * n / (n + 1), 1e-9)
    assert t.mean_of_maximum(lambda x: 1 - (1 + x / scale) ** -3, 1) == near(scale / 2, 1e-9)
    assert t.mean_of_maximum(lambda x: float(x >= scale), 3) == near(scale, 1e-9)
    assert t.mean_of_maximum(lambda x: 1.0, 3) == 0


def dm1_rest(rho):
    """1 - σ of D/M/1 by Newton's method with 200 digits: 1 - x = exp(-x/ρ)."""
    with localcontext(prec=200):
        rho = Decimal(rho)
        x = 2 * (1 - rho) if rho > 0.8 else Decimal(1)
        for _ in range(60):
            e = (-x / rho).exp()
            x -= (1 - x - e) / (e / rho - 1)
        return float(x), float(1 - x)


@pytest.mark.parametrize("rho", [0.004, 0.05, 0.5, 0.99, 1 - 1e-5, 1 - 1e-7, 1 - 1e-10])
def test_constant_arrivals_at_any_load(rho):
    """[F] Kleinrock 1975, 6.4. Near 1 the wait is 1 / (2 (1-ρ)); a small σ keeps its digits."""
    rest, busy = dm1_rest(rho)
    queue = t.dm1(rho, 1)
    assert queue.p_busy == near(busy)
    assert queue.mean_sojourn == near(1 / rest, 1e-14 / (1 - rho))
    assert t.dm1(1 - 1e-7, 1).mean_wait == near(5e6, 1e-6)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_renewal_arrivals_near_capacity(gap):
    """[F] Erlang of one phase is M/M/1; Köllerström 1974: (ca² + 1) / (2 (1-ρ)) in heavy traffic."""
    one_phase = t.gim1(t.erlang_transform(1 / (1 - gap), 1), 1 - gap, 1)
    assert one_phase.mean_sojourn == near(1 / gap, 1e-14 / gap)
    assert one_phase.p_busy == near(1 - gap)
    for scv, transform in (
        (0.25, t.erlang_transform(1 / (1 - gap), 4)),
        (9.0, t.hyperexponential_transform(1 / (1 - gap), 9)),
    ):
        wait = t.gim1(transform, 1 - gap, 1).mean_wait
        assert wait == near((1 + scv) / 2 / gap, 10 * gap + 1e-14 / gap)


def test_states_of_a_thousand_servers():
    """[D] Kleinrock 1975, section 3.5, in whole numbers."""
    weights = [Fraction(900**n, math.factorial(n)) for n in range(1001)]
    whole = sum(weights[:1000]) + weights[1000] * 10
    for n in (700, 900, 1000):
        assert t.mmc_state(n, 900, 1.0, 1000) == near(weights[n] / whole)
    assert t.mmc_state(1010, 900, 1.0, 1000) == near(
        weights[1000] * Fraction(9**10, 10**10) / whole
    )
    assert np.sum(t.mmc_state(np.arange(2000), 900, 1.0, 1000)) == near(1)


@pytest.mark.parametrize("servers", [2, 5, 40])
def test_constant_service_near_capacity(servers):
    """[F] The roots of Crommelin 1932 against Spitzer's sum; 1 / (2 (c-a)) in the limit."""
    rho = 1 - 0.2 / math.sqrt(servers)
    i = np.arange(1, 3000.0)
    late = special.gammainc(i * servers, i * servers * rho)
    exact = np.sum(late - special.gammainc(i * servers + 1, i * servers * rho) / rho)
    assert t.mdc_mean_wait(servers * rho, 1, servers) == near(exact, 1e-11)
    for gap in (1e-8, 1e-12, 1e-15):
        load = servers * (1 - gap)
        assert t.mdc_mean_wait(load, 1, servers) == near(1 / (2 * (servers - load)), 1e-5)
    assert t.mdc_mean_wait(1 - 1e-12, 1, 1) == near(t.md1(1 - 1e-12, 1).mean_wait)


def test_constant_service_of_many_servers():
    """[D] The roots with 40 digits (mpmath 1.4.1); the sum in floats is off by 1e-6."""
    assert t.mdc_mean_wait(399.6, 1, 400) == near(1.2215064799501623, 1e-11)


def test_k_of_many():
    """[D] Half of a symmetric binomial, and half of its middle; a single part; all parts."""
    middle = Fraction(math.comb(2000, 1000), 2**2000)
    assert t.k_of_n_availability(1000, 2000, 0.5) == near(Fraction(1, 2) + middle / 2)
    assert t.k_of_n_availability(2000, 2000, 0.999) == near(0.999**2000)
    assert t.k_of_n_availability(0, 2000, np.array([0.0, 1.0])) == pytest.approx([1, 1])
    assert t.k_of_n_availability(1, 3, 1e-17) == near(3e-17)


@pytest.mark.parametrize("gap", [0.5, 1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize(("work", "callee"), [(1.0, 1.0), (5000.0, 0.1), (1.0, 100.0)])
def test_one_held_worker_near_capacity(gap, work, callee):
    """[F] One worker is M/G/1 with the sum as service."""
    rate = (1 - gap) / (work + callee)
    scv = (work**2 + callee**2) / (work + callee) ** 2
    exact = t.mg1(rate, work + callee, scv).mean_sojourn
    assert t.hold_response(rate, 1, work, callee) == near(exact, 1e-14 / gap)


# fmt: off
@pytest.mark.parametrize(
    ("workers", "servers", "rate", "exact"),
    [
        (2, 1, 0.799999992, 100000001.519981144), (3, 1, 0.937499990625, 94916667.7371325488),
        (8, 2, 1.9957007539036973, 49580483.2487260373), (5, 2, 1.8, 13.8554756341272977),
    ],
)
# fmt: on
def test_held_workers_near_capacity(workers, servers, rate, exact):
    """[D] The same chain with 60 digits (mpmath 1.4.1)."""
    assert t.hold_response(rate, workers, 1, 1, servers) == near(exact, 1e-14 * exact)


def test_erlang_b_load_at_any_blocking():
    """[D] One server: B = a/(1+a). Many: a^c/c! where it is small."""
    for blocking in (1e-100, 1e-20, 0.3, 1 - 1e-10):
        exact = Fraction(blocking) / (1 - Fraction(blocking))
        assert t.erlang_b_load(blocking, 1) == near(exact)
    tiny = math.exp((math.log(1e-100) + math.lgamma(6)) / 5)
    assert t.erlang_b_load(1e-100, 5) == near(tiny)
    assert t.erlang_b(t.erlang_b_load(0.01, 1000), 1000) == near(0.01)
    assert t.extended_erlang_b(1e-15, 1, 0.5) == near(1e-15)


def test_servers_of_a_large_load_are_counted_once():
    """To begin anew at 0 with each server would take five thousand million steps."""
    for load in (3000, 100_000):
        servers = t.erlang_b_servers(load, 0.001)
        assert t.erlang_b(load, servers) <= 0.001 < t.erlang_b(load, servers - 1)


@pytest.mark.parametrize("load", [1e-20, 1e12, 1e17, 1e100])
def test_a_limited_queue_at_any_load(load):
    """[D] M/M/1/2 in whole numbers."""
    a = Fraction(load)
    queue = t.mmck(load, 1, 1, 2)
    assert queue.blocking == near(a**2 / (1 + a + a**2))
    assert queue.utilisation == near((a + a**2) / (1 + a + a**2)) and queue.utilisation <= 1
    assert queue.mean_wait == near(a / (1 + a))
    for servers, room in ((2, 3), (3, 50)):
        assert t.mmck(load, 1, servers, room).utilisation <= 1


def test_abandonment_of_few_and_of_many():
    """[D] Where hardly anybody waits, λ/(μ+θ) of those who do; overload: 1 - cμ/λ give up."""
    few = t.erlang_a(1e-9, 1, 1, 1)
    assert few.mean_queue == near(5e-19, 1e-8)
    many = t.erlang_a(2, 1, 1, 1e-6)
    assert many.p_wait <= 1 and many.p_abandon == near(0.5, 1e-9)


def test_small_probabilities_keep_their_digits():
    """[D] First terms of the series."""
    assert t.beta_factor_loss(1e-9, 0, 1, 2) == near(1e-18, 1e-8)
    assert t.beta_factor_loss(1e-9, 1, 1, 2) == near(1e-9, 1e-8)
    assert t.clean_bound(10**17) == near(-math.log(0.05) / 1e17)
    assert t.clean_bound(1, 1e-17) == near(1e-17)
    assert t.clean_trials(0.5, 1e-17) == 1
    assert t.retry_success(1 - 2**-50, 3) == near(3 * 2**-50)
    assert t.mean_attempts(1 - 2**-50, 3) == near(3)
    assert t.saga_compensations_parallel([1e-18] * 5) == near(20e-18)
    assert t.saga_compensations_parallel([1, 1, 0]) == 1
    assert t.batch_mg1(1e-20, 1, 1).p_wait == near(1e-20)
    assert t.breakdowns_any_time(1e-20, 1, 0, 1).mean_wait == near(1e-20)
    assert t.mg1(1e120, 1e-140, 1).mean_wait == near(1e-160)
    assert t.fluid_stream(1e6, 1 + 2**-50, 1).peak == near(1e6 * 2**-50)
    good = t.sequential_test(1e-18, 2e-18, 0.05, 0.05)
    assert good.s == near(1e-18 / math.log(2)) and 0 < good.mean_size_good < 1e20


def test_sojourn_at_the_ends():
    """[F] One server: exponential with μ-λ."""
    for share in (1e-12, 0.3, 1 - 2**-50):
        exact = -math.log1p(-share) / 0.5
        assert t.mmc_sojourn_quantile(share, 0.5, 1, 1) == near(exact)
    for rate in (1e-9, 0.5, 0.999):
        assert t.mmc_sojourn_tail(50.0, rate, 1, 1) == near(math.exp(-50 * (1 - rate)))
    assert t.mmc_sojourn_tail(1e-30, 1.9, 1, 2) <= 1
    assert t.mmc_sojourn_tail(1e4, 0.999, 1, 1) == near(math.exp(-10))


def test_probabilities_of_large_shards():
    """[D] Hypergeometric in whole numbers, and floats whatever their size."""
    shared = t.shard_overlap(1000, 8)
    assert shared.dtype == float
    exact = Fraction(math.comb(8, 3) * math.comb(992, 5), math.comb(1000, 8))
    assert shared[3] == near(exact)
    assert t.shard_overlap(5, 4).tolist() == near_list([0, 0, 0, 0.8, 0.2])
    assert t.shard_overlap(10**6, 10**4).sum() == near(1)


def near_list(values):
    return pytest.approx(values, rel=1e-12)


def test_large_counts_cost_no_memory():
    assert t.max_exponentials_scv(10**12) == near(
        math.pi**2 / 6 / (math.log(10**12) + np.euler_gamma) ** 2, 1e-10
    )
    same = t.max_of_exponentials([2.0] * 20)
    assert same == near(2 * math.fsum(1 / k for k in range(1, 21)), 1e-10)


# --- parameters that mean nothing ---------------------------------------------------------------


@pytest.mark.parametrize(
    "overloaded",
    [
        lambda: t.mm1(1, 1),
        lambda: t.mmc(np.array([0.5, 4]), 1, 2),
        lambda: t.erlang_c(3, 2),
        lambda: t.mg1(2, 1, 0),
        lambda: t.mdc_mean_wait(2, 1, 2),
        lambda: t.mgc_wait(2, 1, 2, 0.5),
        lambda: t.dm1(1, 1),
        lambda: t.batch_mg1(0.5, 2, 1),
        lambda: t.hold_response(0.81, 2),
        lambda: t.fork_join_two(1, 1),
        lambda: t.split_merge(2, 0.7),
        lambda: t.jackson([1], [1], [1], [[0.5]]),
        lambda: t.fluid_backlog(100, 100, 1),
        lambda: t.retrial_orbit(1, 1, 1),
        lambda: t.breakdowns_any_time(0.8, 1, 0.05, 0.2),
        lambda: t.breakdowns_in_service(0.8, 1, 0.05, 0.2),
        lambda: t.two_choices_sojourn(1),
        lambda: t.open_network_response(1, [0.5, 1]),
        lambda: t.priority_sojourns([0.5, 0.6], [1, 1]),
    ],
)
def test_overload_is_unstable(overloaded):
    with pytest.raises(t.Unstable, match="utilisation is"):
        overloaded()


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (lambda: t.mm1(-1, 1), "arrival_rate"),
        (lambda: t.mm1(1, 0), "service_rate"),
        (lambda: t.mm1(math.nan, 1), "arrival_rate"),
        (lambda: t.mmc(1, 1, 1.5), "servers"),
        (lambda: t.mmck(1, 1, 3, 2), "capacity"),
        (lambda: t.mgc_wait(1, 1, 2, 1.5), "service_scv"),
        (lambda: t.erlang_b_load(0, 3), "blocking"),
        (lambda: t.tail_at_scale(1.2, 3), "p_slow"),
        (lambda: t.saga_commit([0.1, -0.1]), "failures"),
        (lambda: t.k_of_n_availability(4, 3, 0.9), "k is 4"),
        (lambda: t.hyperexponential_transform(1, 0.5), "scv"),
        (lambda: t.jackson([1, 0], [1, 1], [1, 1], [[0, 2], [0, 0]]), "routing"),
        (lambda: t.jackson([1, 0], [9, 9], [1, 1], [[0, 1], [1, 0]]), "for ever"),
        (lambda: t.sequential_test(0.1, 0.01, 0.05, 0.05), "p_good"),
        (lambda: t.shard_overlap(3, 4), "shard"),
        (lambda: t.mmc_wait_quantile(1, 0.5, 1), "probability"),
        (lambda: t.extended_erlang_b(5, 4, 1), "recall"),
        (lambda: t.fork_join_approximation(1, 0.5, 1), "branches"),
        (lambda: t.linger(1, 0, 1), "batch_limit"),
        (lambda: t.batch_mg1(0.1, 0.5, 1), "batch_size is 0.5; a mean of at least 1 was expected"),
        (lambda: t.run_length(0.1, 0, 1), "arrival_rate is 0; it must be greater than 0"),
        (lambda: t.mm1("a", 1), "arrival_rate is 'a'; a finite number was expected"),
        (lambda: t.mm1("1", 1), "arrival_rate is '1'; a finite number was expected"),
        (lambda: t.mm1([1, [2]], 1), "arrival_rate is .*; a finite number was expected"),
        (lambda: t.mm1(10**400, 1), "arrival_rate is .*; a finite number was expected"),
        (lambda: t.mm1(0.5, 1e-200), "service_rate is 1e-200; at least 1e-150 was expected"),
        (lambda: t.mm1(1e200, 1), "arrival_rate is 1e.200; a number of at most 1e150"),
        (lambda: t.mmc(1, 1, 10**12), "servers is 1000000000000; at most 10000000 are counted"),
        (lambda: t.hold_response(1, 1000), "workers is 1000; at most 300 are counted"),
        (lambda: t.harmonic(1e30), "n is 1e.30; at most"),
        (lambda: t.erlang_b_servers(1e12, 0.1), "offered_load is"),
        (lambda: t.erlang_a(2, 1, 1, 1e-12), "abandon_rate is 1e-12; a larger one was expected"),
        (lambda: t.gim1(t.deterministic_transform(0.1), 0.5, 1), "transform has no root below 1"),
        (lambda: t.priority_sojourns([0.1], [1, 1]), "one entry a class"),
        (lambda: t.jackson([1, 0], [9, 9, 9], [1, 1], [[0, 1], [0, 0]]), "one entry a station"),
        (lambda: t.mean_value_analysis([1], [[0.0]], [0]), "a time was expected"),
        (lambda: t.mean_value_analysis([10**9], [[1.0]], [0]), "populations is"),
        (lambda: t.mean_of_maximum(lambda x: x / (1 + x), 2), "a finite mean was expected"),
        (lambda: t.mean_of_maximum(lambda x: 0.5, 2), "a finite mean was expected"),
        (lambda: t.mean_of_maximum(lambda x: math.nan, 2), "cdf"),
        (lambda: t.retry_amplification(10, 1000), "attempts to the power of layers is inf"),
        (lambda: t.fixed_test_size(0.1, 0.2, 0.9, 0.9), "smaller ones were expected"),
        (lambda: t.two_proportion_size(0.2, 0.05, 0.05, 0.01), "power is 0.01; more was expected"),
    ],
)
def test_wrong_parameters_are_named(wrong, place):
    with pytest.raises(ValueError, match=place):
        wrong()
