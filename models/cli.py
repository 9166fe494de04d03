"""The `decouple` command.

Exit codes: 0 done; 2 something that the user can put right, said in one sentence; 1 interrupted.
Whatever takes long to import is imported where it is used, so that `--help` is there at once.
"""

import difflib
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

STAGES = ("synchronous", "asynchronous", "separated")
SEVERITIES = ("minor", "major", "critical")
PARTS = {  # of the gate's options: what they are called in models.soak
    "undo_shared": "undo_shared_team_days",
    "undo_apart": "undo_apart_team_days",
    "gain_per_day": "gain_team_days_per_day",
}
MOST_REQUESTS = 10**10


class Mistake(click.ClickException):
    """Something that the user can put right."""

    exit_code = 2

    def show(self, file=None):
        click.echo(self.message, file=file, err=True)


@contextmanager
def _told(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise Mistake(str(error)) from None


class Whole(click.ParamType):
    """A whole number within bounds; `1e6` and `1_000_000` are numbers too."""

    name = "integer"

    def __init__(self, low: int, high: int):
        self.low, self.high = low, high

    def convert(self, value, param, ctx):
        try:
            number = Decimal(value)
            if self.low <= number <= self.high and number == int(number):
                return int(number)
        except InvalidOperation:
            pass
        raise Mistake(
            f"{param.opts[0]}: {value!r} was found; "
            f"expected a whole number from {self.low:,} to {self.high:,}"
        )


class Choice(click.Choice):
    """One of some words; a misspelt one gets a suggestion."""

    def convert(self, value, param, ctx):
        if value not in self.choices:
            near = difflib.get_close_matches(str(value), self.choices, 1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            expected = ", ".join(self.choices)
            raise Mistake(
                f"{param.opts[0]}: {value!r} was found; expected one of {expected}{meant}"
            )
        return value


class Command(click.Group):
    """The command, and what it says where its output cannot be written."""

    def main(self, *args, **options):
        try:
            return super().main(*args, **options)
        except OSError as error:
            click.echo(f"output: cannot be written: {error.strerror}", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to say
            sys.exit(2)


class Amount(click.ParamType):
    """A number within bounds."""

    name = "number"

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def convert(self, value, param, ctx):
        try:
            if self.low <= (number := float(value)) <= self.high:
                return number
        except ValueError:
            pass
        raise Mistake(
            f"{param.opts[0]}: {value!r} was found; "
            f"expected a number from {self.low:g} to {self.high:g}"
        )


file_argument = click.argument("file")
stage_option = click.option(
    "--stage",
    type=Choice(STAGES),
    help="Take the system down the road to this stage first.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="decoupling-in-stages", prog_name="decouple")
def main():
    """Loosen a microservice system stage by stage, and see what each stage gains and costs.

    FILE is a system in YAML, or the name of one that comes along: shop, online-boutique,
    social-network. Try `decouple check shop`, then `decouple run shop --stage asynchronous`. (`gate`
    takes an incident log instead.)

    The stages, each applied to the one before: `synchronous` (every message becomes a call),
    `asynchronous` (what is marked deferrable becomes a message), `separated` (what is reached by
    messages alone moves to its team's own infrastructure).
    """


@main.command()
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
    system = _system(file, stage)
    report = _report(system, stage) if as_json else "\n".join(_lines(system))
    click.echo(report)


def _report(system, stage):
    services = {
        name: {
            "infrastructure": system.services[name].infrastructure,
            "team": system.services[name].team,
            "workers": load.workers or "unlimited",
            "handled_per_s": load.handled_per_s,
            "working": _number(load.working),
            "utilisation": _number(load.utilisation),
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
    return _json({**found, "warnings": _warnings(system)})


def _lines(system):
    yield f"{system.name}\n"
    rows = [
        (
            name,
            system.services[name].infrastructure,
            system.services[name].team or "-",
            str(load.workers or "unlimited"),
            f"{load.handled_per_s:.1f}",
            _percent(load.working),
            _percent(load.utilisation),
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
    yield _table(titles, rows, left=3)
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


@main.command()
@file_argument
@stage_option
@click.option(
    "--requests",
    type=Whole(1, MOST_REQUESTS),
    default=200_000,
    show_default=True,
    help="How many requests a run has, all flows together; the first tenth is not measured.",
)
@click.option(
    "--seed",
    type=Whole(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Which random numbers are drawn. Same seed, same numbers.",
)
@click.option(
    "--replications",
    type=Whole(1, 100_000),
    default=1,
    show_default=True,
    help="Independent runs; from 2 on the intervals are those between runs.",
)
@click.option(
    "--engine",
    type=Choice(["compiled", "simpy"]),
    default="compiled",
    show_default=True,
    help="The fast engine, or the one that the book shows; both give the same times.",
)
@click.option(
    "--overload", is_flag=True, help="Run although some service cannot keep up or can lock up."
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def run(file, stage, requests, seed, replications, engine, overload, as_json, as_csv):
    """Simulate a system and print what its users see, with 95 % intervals (value +- half width).

    \b
    response       from the arrival of a request until its answer
    completion     until all is done that it started, messages included
    inconsistency  from the answer until all is done
    throughput     requests a second that ended well
    ok, failed, rejected (share)  how requests ended: well; undone; turned away by a full queue
    undone         steps undone for each request

    Times are in ms: mean, median (p50) and the times that 95 %, 99 % and 99.9 % stay below. The
    response and completion times are those of requests that ended well.
    """
    if as_json and as_csv:
        raise Mistake("--csv: found beside --json; expected one of them; leave one out")
    system = _system(file, stage)
    if not overload and (found := system.warnings()):
        raise Mistake("\n".join([*found, "system: it cannot keep up; --overload runs it anyway"]))
    from models.experiment import ExperimentError, replicate, simulate

    progress = sys.stderr.isatty()
    with _told(ExperimentError):
        if replications == 1:
            keep = "requests" if engine == "simpy" else "summary"
            result = simulate(system, requests, seed, engine, keep=keep, progress=progress)
            table = result.summary()
        else:
            table = replicate(
                system, replications, requests, seed, engine=engine, progress=progress
            ).rename(columns={"mean": "value"})
    about = {"system": system.name, "stage": stage, "engine": engine, "seed": seed}
    about |= {"requests": requests, "replications": replications, "confidence": 0.95}
    if as_json:
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        click.echo(_json({**about, "results": rows}))
    elif as_csv:
        click.echo(table.assign(**about).to_csv(index=False), nl=False)
    else:
        runs, each = _counted(replications, "run"), _counted(requests, "request")
        rows = [
            (row.flow, row.metric, *_rounded(row.value, row.half_width), row.unit)
            for row in table.itertuples()
        ]
        click.echo(
            f"{system.name}{f', {stage}' if stage else ''}\n"
            f"{runs} of {each}, seed {seed}, engine {engine}, 95 % intervals\n\n"
            + _table(("flow", "metric", "value", "+-", "unit"), rows, left=2)
        )
    for sentence in _growing(system, table):
        click.echo(f"warning: {sentence}", err=True)


def _growing(system, table):
    """Flows of which clearly fewer end than arrive: a queue grows, however long the run."""
    rows = table.set_index(["flow", "metric"])
    for name, flow in system.flows.items():
        if flow.arrivals.process in ("timestamps", "profile"):  # no steady rate to compare with
            continue
        ended = rows.loc[(name, "throughput_per_s")]
        due = flow.mean_rate_per_s * rows.loc[(name, "ok_share"), "value"]
        if ended.value + 2 * ended.half_width < 0.99 * due:
            yield (
                f"flows.{name}: {ended.value:.4g} requests per second end well of {due:.4g} that "
                "should; a queue grows, so the times depend on the length of the run; "
                "see `decouple check` for the services that are nearly full"
            )


@main.command()
@file_argument
@stage_option
@click.option("-o", "--output", type=click.Path(), help="Where to write it; else it is printed.")
def draw(file, stage, output):
    """Draw a system as an SVG: services, infrastructures, calls, messages.

    The picture follows the light or dark scheme of whoever looks at it.
    """
    system = _system(file, stage)
    from models.drawing import draw as drawn

    svg = drawn(system)
    if output is None or output == "-":
        click.echo(svg)
        return
    target = Path(output)
    part = target.with_name(f"{target.name}.part") if target.name else target
    try:
        if target.exists() and not target.is_file():  # a device, a pipe, or a directory
            target.write_text(svg, encoding="utf-8")
        else:
            part.write_text(svg, encoding="utf-8")
            part.replace(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Mistake(f"{output!r}: cannot be written: {reason}; expected a file name") from None
    finally:
        if part.is_file():
            part.unlink()
    click.echo(f"{output} written")


@main.command()
@json_option
def presets(as_json):
    """List the named policies: the defaults of known tools, with their sources.

    A system file uses one as `mesh: {preset: istio}`, or on a step as `preset: istio`. What is said
    beside it overrides it: `retry: {attempts: 5}` keeps the rest of its retries, `retry: null`
    takes them out.
    """
    from models.presets import PRESETS
    from models.reading import dump

    if as_json:
        click.echo(_json({name: vars(preset) for name, preset in PRESETS.items()}))
        return
    for name, preset in PRESETS.items():
        click.echo(f"{name}: {preset.title}")
        for line in dump(dict(preset.values)).splitlines() if preset.values else ["nothing"]:
            click.echo(f"    {line}")
        click.echo(f"  source: {preset.source}")
        for sentence in preset.translated:
            click.echo(f"  - {sentence}")
        click.echo()


@main.command()
@file_argument
@click.option("--from", "begins", required=True, metavar="DATE", help="First day of the soak.")
@click.option("--to", "ends", default="", metavar="DATE", help="Its last day; else today.")
@click.option(
    "--counts-from",
    type=Choice(SEVERITIES),
    default="major",
    show_default=True,
    help="The mildest severity of a defect for which the step would have to be undone.",
)
@click.option(
    "--defects",
    type=Amount(0.01, 50),
    default=3.0,
    show_default=True,
    help="Hidden defects that are believed in before anything is seen, mean.",
)
@click.option(
    "--defects-cv",
    type=Amount(0.05, 2),
    default=1.0,
    show_default=True,
    help="How unsure that is, as a coefficient of variation.",
)
@click.option(
    "--rate-per-day",
    type=Amount(0.0001, 1),
    default=0.02,
    show_default=True,
    help="The rate at which a defect comes to light, mean.",
)
@click.option(
    "--rate-cv",
    type=Amount(0, 2),
    default=0.7,
    show_default=True,
    help="How much that differs between defects, as a coefficient of variation.",
)
@click.option(
    "--undo-shared",
    type=Amount(0, 1e6),
    default=2.0,
    show_default=True,
    help="Undoing the step for a defect while the infrastructure is shared, team-days.",
)
@click.option(
    "--undo-apart",
    type=Amount(0, 1e6),
    default=30.0,
    show_default=True,
    help="The same once the infrastructures are separated, team-days.",
)
@click.option(
    "--gain-per-day",
    type=Amount(0, 1e6),
    default=0.4,
    show_default=True,
    help="What a day of being separated is worth, team-days.",
)
@click.option(
    "--horizon-days",
    type=Whole(1, 3650),
    default=1095,
    show_default=True,
    help="How far ahead is looked, from the first day of the soak.",
)
@json_option
def gate(file, begins, ends, counts_from, horizon_days, as_json, **given):
    """Go or wait: may the infrastructures be separated, after what a soak has shown?

    FILE is a CSV file, a line for each defect that came to light during the soak, with the columns
    `date` (YYYY-MM-DD) and `severity` (minor, major, critical) and others as you like; or
    `invented`, an example. Try `decouple gate invented --from 2025-02-03 --to 2025-05-04`.

    All costs are in team-days, a day's work of one team; any other unit does as well, if it is the
    same for all three. The defaults are assumed, not measured: put in your own. Chapter 5 of the
    book says what they mean.
    """
    from dataclasses import asdict

    from models import incidents, soak

    step = soak.Step(
        **{PARTS.get(name, name): value for name, value in given.items()},
        horizon_days=horizon_days,
    )
    with _told(incidents.InvalidLog):
        log = incidents.read(file, begins, ends)
        found = soak.gate(step, log, counts_from)
    if as_json:
        about = {"from": str(log.begins), "to": str(log.ends), "counts_from": counts_from}
        numbers = {name: _finite(value) for name, value in asdict(found).items()}
        click.echo(_json({**about, **numbers, "assumed": asdict(step)}))
        return
    clean = "-" if found.clean_days is None else f"{found.clean_days:,}"
    low, high = soak.per(found.rate_low_per_day), soak.per(found.rate_high_per_day)
    rows = [
        ("rate at which defects come to light", soak.per(found.rate_per_day)),
        ("with 95 % between", f"{low.removesuffix(' days')} and {high}"),
        ("with 95 % at most, from the log alone", soak.per(found.log_alone_per_day)),
        ("break-even rate", soak.per(found.break_even_per_day)),
        ("defects still hidden, expected", f"{found.left:.3g}"),
        ("more days without a defect until go", clean),
    ]
    milder = f", {found.not_counted:,} milder not counted" * bool(found.not_counted)
    click.echo(
        f"{found.answer.upper()}\n\n{found.reason}\n\n"
        f"{log.begins} to {log.ends}: {_counted(found.found, 'incident')} from {counts_from} on"
        f"{milder}\n\n{_table(rows[0], rows[1:], left=2)}"
    )


@main.command()
@file_argument
@click.option(
    "--assume",
    "assumed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Assume something else; may be said again. `--json` lists all that is assumed.",
)
@click.option(
    "--runs",
    type=Whole(2, 1000),
    default=6,
    show_default=True,
    help="Independent runs behind each interval.",
)
@click.option(
    "--requests",
    type=Whole(1000, 10**8),
    default=20_000,
    show_default=True,
    help="Requests in a run.",
)
@click.option(
    "--years",
    type=Whole(1, 10_000),
    default=100,
    show_default=True,
    help="Years of outages in a run.",
)
@click.option(
    "--seed",
    type=Whole(0, 2**62),
    default=1,
    show_default=True,
    help="Which random numbers are drawn. Same seed, same numbers.",
)
@json_option
def road(file, assumed, runs, requests, years, seed, as_json):
    """Walk the whole road with a system: what each step gains and costs, and how far to go.

    \b
    synchronous    every message is a call
    asynchronous   what is marked deferrable is a message
    separated      what is reached by messages alone runs apart
    meshed         a mesh is put into all calls, with one policy for all
    governed       its policies go out in waves

    Each stage gets the same requests and the same outages. Of each measure the value is printed,
    with its 95 % interval (+-) where it is simulated. Then come what each step gained (+) and lost
    (-), the gates with what they ask for, and the advice: the last stage whose gates are all passed
    and whose step gains what it is for.

    The times are those of the flow with the most steps that can wait. How often things fail, and
    what a soak has shown, is assumed: `--assume soak_days=90 --assume found=1`. Outages and restarts
    in the file are left out. Chapter 8 of the book says what all of it means.
    """
    system = _system(file, None)
    from models import roadmap

    words = {}
    for pair in assumed:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Mistake(f"--assume: {pair!r} was found; expected NAME=VALUE, as in soak_days=90")
        words[name.strip()] = value.strip()
    with _told(ValueError):
        terms = roadmap.assume(words)
    walked = roadmap.walk(system, terms, runs, requests, years, seed)
    click.echo(
        _road_report(walked, runs, seed) if as_json else "\n".join(_road_lines(walked, runs))
    )


def _road_report(walked, runs, seed):
    from dataclasses import asdict

    from models import roadmap

    table = walked.table().replace([math.inf, -math.inf], math.nan)
    steps = walked.steps().replace([math.inf, -math.inf], math.nan)
    found = {
        "name": walked.systems["synchronous"].name,
        "flow": walked.flow,
        "runs": runs,
        "seed": seed,
        "confidence": 0.95,
        "stages": json.loads(table.to_json(orient="records", double_precision=15)),
        "steps": json.loads(steps.to_json(orient="records", double_precision=15)),
        "gates": [asdict(gate) for gate in roadmap.gates(walked)],
        "advice": asdict(roadmap.advice(walked)),
        "assumed": asdict(walked.terms),
    }
    return _json(found)


def _road_lines(walked, runs):
    from models import roadmap

    yield f"{walked.systems['synchronous'].name}, {walked.flow}: {_counted(runs, 'run')}\n"
    rows = [
        (
            f"{measure.title} ({measure.unit})" if measure.unit else measure.title,
            *(_measured(*walked.at(stage, name)) for stage in walked.stages),
        )
        for name, measure in roadmap.MEASURES.items()
    ]
    yield _table(("measure", *walked.stages), rows, left=1)
    for stage in walked.stages[1:]:
        yield f"\nto {stage}"
        for sign, effect in (("+", "gained"), ("-", "lost")):
            titles = [roadmap.MEASURES[name].title for name in walked.moved(stage, effect)]
            yield f"  {sign} {'; '.join(titles) or 'nothing'}"
    yield ""
    rows = [
        (gate.stage, gate.condition, gate.found, gate.expected, "yes" if gate.passed else "no")
        for gate in roadmap.gates(walked)
    ]
    yield _table(("gate to", "condition", "found", "expected", "passed"), rows, left=5)
    told = roadmap.advice(walked)
    yield f"\nadvice: go as far as {told.stage}. {told.reason}."


def _measured(value, half_width):
    if math.isinf(value):
        return "without end"
    return f"{value:.4g}" + (f" +- {half_width:.2g}" if half_width else "")


def _finite(value):
    return None if isinstance(value, float) and math.isinf(value) else value


@main.command()
@file_argument
@json_option
def claims(file, as_json):
    """Say what a system file decides about the claims of the road.

    Some claims can be decided from the file: who needs whom, mean loads, what may move, and a short
    simulation (5 runs of 20,000 requests, seed 1). The others depend on what no system file says;
    they get no verdict, and the reason. The book's own verdicts stand on its page "Claims".
    """
    system = _system(file, None)
    from models import publish, verdicts
    from models.experiment import ExperimentError

    with _told(ExperimentError):
        found = verdicts.verdicts(system)
    if as_json:
        rows = [
            {"id": each.id, "claim": publish.claims()[each.id]["claim"], "verdict": each.holds}
            | {"evidence": each.evidence, "edge": each.edge}
            for each in found
        ]
        click.echo(_json({"name": system.name, "claims": rows}))
        return
    click.echo(f"{system.name}\n")
    for each in found:
        click.echo(f"{each.id}: {each.holds or 'no verdict'}")
        click.echo(f"  {publish.claims()[each.id]['claim']}")
        for words in filter(None, (each.evidence, each.edge)):
            click.echo(f"  - {words}")
        click.echo()


def _system(file, stage):
    from models import stages
    from models.system import InvalidSystem, System

    with _told(InvalidSystem, stages.StageError):
        system = System.load(file)
        return stages.at(system, stage) if stage else system


def _json(data):
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)


def _number(value):
    return None if math.isnan(value) else value


def _rounded(value, half_width):
    """As text: what does not exist (no such request, too few of them) is a dash."""
    return (
        "-" if math.isnan(value) else f"{value:.4g}",
        "-" if math.isnan(half_width) else f"{half_width:.2g}",
    )


def _counted(number, word):
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _percent(share):
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


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


def _table(titles, rows, left):
    """Aligned text; the first `left` columns to the left, the others to the right."""
    rows = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
