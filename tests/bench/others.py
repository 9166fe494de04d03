"""Other simulators on stations in a row, in an environment of their own (`.venv-bench`).

Usage: others.py ciw|line GAP_MS WORK_MS STATIONS WORKERS. For each line of input (`CUSTOMERS SEED`)
it prints one of output, as JSON: the seconds of processor time that it took, and the mean response.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path


def ciw(gap_ms, work_ms, stations, workers):
    """Ciw, in Python: an object per customer."""
    import ciw

    last = stations - 1
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(1 / gap_ms)] + [None] * last,
        service_distributions=[ciw.dists.Exponential(1 / work_ms)] * stations,
        routing=[
            [float(there == here + 1) for there in range(stations)] for here in range(stations)
        ],
        number_of_servers=[workers] * stations,
    )

    def run(customers, seed):
        ciw.seed(seed)
        started = time.process_time()
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_customers(customers, method="Finish")
        seconds = time.process_time() - started
        records = simulation.get_all_records()
        return seconds, stations * sum(r.exit_date - r.arrival_date for r in records) / len(records)

    return run


def line(gap_ms, work_ms, stations, workers):
    """The simulator of LINE: a program in C++ that its Python package brings along."""
    import line_solver
    from line_solver.io.linemodel_io import save_model

    model = line_solver.Network("stations")
    source = line_solver.Source(model, "in")
    queues = [
        line_solver.Queue(model, f"s{number}", line_solver.SchedStrategy.FCFS)
        for number in range(stations)
    ]
    sink = line_solver.Sink(model, "out")
    customers = line_solver.OpenClass(model, "customers")
    source.set_arrival(customers, line_solver.Exp(1 / gap_ms))
    for queue in queues:
        queue.set_number_of_servers(workers)
        queue.set_service(customers, line_solver.Exp(1 / work_ms))
    model.link(line_solver.Network.serial_routing(source, *queues, sink))
    kept = tempfile.TemporaryDirectory()  # goes with this process
    folder = Path(kept.name)
    save_model(model, str(folder / "model.json"))
    program = Path(line_solver.__file__).parent / "bin" / "ldes"

    def run(customers, seed):
        """`--samples` counts services, of which a customer has one at each station."""
        folder = Path(kept.name)
        command = [program, "solve", folder / "model.json", "-o", folder / "result.json"]
        command += ["--samples", customers * stations, "--seed", seed]
        child = os.posix_spawn(
            program,
            [str(word) for word in command],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)],
        )
        _, status, used = os.wait4(child, 0)
        if status:
            raise RuntimeError(f"{program} ended with status {status}")
        result = json.loads((folder / "result.json").read_text("utf-8"))
        return used.ru_utime + used.ru_stime, sum(row[0] for row in result["metrics"]["RN"])

    return run


def main():
    name, *numbers = sys.argv[1:]
    gap_ms, work_ms = map(float, numbers[:2])
    run = {"ciw": ciw, "line": line}[name](gap_ms, work_ms, *map(int, numbers[2:]))
    for asked in sys.stdin:
        seconds, mean_ms = run(*map(int, asked.split()))
        print(json.dumps({"seconds": seconds, "mean_ms": mean_ms}), flush=True)


if __name__ == "__main__":
    main()
