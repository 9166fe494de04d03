"""`decouple check`: what a system is, and how loaded."""

import click

from models.commands.common import (
    aligned,
    dumped,
    file_argument,
    finite,
    json_option,
    load,
    percent,
    stage_option,
)


@click.command()
@file_argument
@stage_option
@json_option
def check(file, stage, as_json):
    """Check a system and print what it is and how loaded it is.

    Utilisation is the share of a service's workers that are held: own work, and the calls that it
    waits for. "Working" is the share for own work alone. Both are lower bounds, from the mean times
    alone: a worker that waits for a call is held longer where that call has to queue. `decouple
    run` measures it. Where services run on more than one infrastructure, each needs a team.

    Retries of what breaks off or fails count, as far as a budget allows; those after a time limit,
    a full queue or an outage do not. Where outages are drawn, all is said of the share of the time
    that a service is up; messages that came meanwhile are done then.
    """
    system = load(file, stage)
    report = _report(system, stage) if as_json else "\n".join(_lines(system))
    click.echo(report)


def _report(system, stage):
    services = {
        name: {
            "infrastructure": system.services[name].infrastructure,
            "team": system.services[name].team,
            "workers": load.workers or "unlimited",
            "handled_per_s": load.handled_per_s,
            "working": finite(load.working),
            "utilisation": finite(load.utilisation),
            "up": load.up,
        }
        for name, load in system.loads().items()
    }
    flows = {
        name: {
            "rate_per_s": flow.mean_rate_per_s,
            "arrivals": flow.arrivals.process,
            "steps": len(system.steps(name)),
        }
        for name, flow in system.flows.items()
    }
    found = {"name": system.name, "stage": stage, "services": services, "flows": flows}
    return dumped({**found, "warnings": _warnings(system)})


def _lines(system):
    yield f"{system.name}\n"
    rows = [
        (
            name,
            system.services[name].infrastructure,
            system.services[name].team or "-",
            str(load.workers or "unlimited"),
            f"{load.handled_per_s:.1f}",
            percent(load.working),
            percent(load.utilisation),
        )
        for name, load in system.loads().items()
    ]
    titles = ("service", "runs on", "team", "workers", "steps/s", "working", "utilisation")
    if any(load.up < 1 for load in system.loads().values()):
        titles = (*titles, "up")
        rows = [
            (*row, f"{100 * load.up:.4g} %")
            for row, load in zip(rows, system.loads().values(), strict=True)
        ]
    yield aligned(titles, rows, left=3)
    for flow_name, flow in system.flows.items():
        yield f"\n{flow_name}: {flow.mean_rate_per_s:.4g} per second, {_arrivals(flow)}"
        for entry in system.steps(flow_name):
            yield f"  {'  ' * (entry.depth - 1)}{_described(entry)}"
    yield ""
    yield from [f"warning: {sentence}" for sentence in _warnings(system)] or ["No warnings."]


def _warnings(system):
    """What will not go well, and once services run apart, which of them nobody owns."""
    from models.stages import unowned

    apart = len({service.infrastructure for service in system.services.values()}) > 1
    return (*system.warnings(), *(unowned(system) if apart else ()))


def _arrivals(flow):
    process = flow.arrivals.process
    return "Poisson" if process == "poisson" else process


def _described(entry):
    step = entry.step
    words = [entry.key if entry.key == step.service else f"{entry.key} ({step.service})"]
    words += [f"{step.work.mean_ms:.4g} ms {step.work.distribution}"] if step.work.mean_ms else []
    words += [f"message via {step.via}"] if step.via else []
    words += ["inside its caller"] if entry.mode == "local" else []
    words += [f"fails {100 * step.fails:.3g} %"] if step.fails else []
    words += [f"undo {step.undo.mean_ms:.4g} ms"] if step.undo else []
    words += ["deferrable"] if step.deferrable and not step.via else []
    words += ["its steps in parallel"] if step.in_parallel and len(step.then) > 1 else []
    return ", ".join(words)
