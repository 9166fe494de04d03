"""`decouple gate`: whether the infrastructures may be separated."""

import math

import click

from models.commands.common import (
    Amount,
    Choice,
    Whole,
    aligned,
    completing,
    counted,
    dumped,
    json_option,
    told,
)

SEVERITIES = ("minor", "major", "critical")
PARTS = {  # of the gate's options: what they are called in models.soak
    "undo_shared": "undo_shared_team_days",
    "undo_apart": "undo_apart_team_days",
    "gain_per_day": "gain_team_days_per_day",
}


@click.command()
@click.argument("file", shell_complete=completing("invented"))
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
    with told(incidents.InvalidLog):
        log = incidents.read(file, begins, ends)
        found = soak.gate(step, log, counts_from)
    if as_json:
        about = {"from": str(log.begins), "to": str(log.ends), "counts_from": counts_from}
        numbers = {name: _finite(value) for name, value in asdict(found).items()}
        click.echo(dumped({**about, **numbers, "assumed": asdict(step)}))
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
        f"{log.begins} to {log.ends}: {counted(found.found, 'incident')} from {counts_from} on"
        f"{milder}\n\n{aligned(rows[0], rows[1:], left=2)}"
    )


def _finite(value):
    return None if isinstance(value, float) and math.isinf(value) else value
