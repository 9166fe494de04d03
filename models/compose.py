"""A Compose file read as a system with gaps; see `models.manifests` for what is taken from it.

What `docker compose config` or `podman-compose config` prints is read as well, and best: there,
other files and variables are already put in. In a file as it was written, `extends`, `include`, `env_file`
and `.env` are followed inside the folder of the file and nowhere else; variables of the shell
are not looked at, so that the same files always give the same system.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.checks import InvalidSystem, show
from models.manifests import (
    Allowance,
    Draft,
    Workload,
    count,
    draft,
    hosts,
    mapping,
    owner,
    plain,
    sequence,
    text,
)
from models.reading import parse_all, text_of

_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)(?:(:?[-?+])([^{}$]*))?\})")


def compose(path: str) -> Draft:
    """The system that a Compose file describes; `-` is the standard input. Raises InvalidSystem."""
    project = _Project(path)
    found = project.services(project.file, project.given, ())
    for key, (where, service) in list(found.items()):
        found[key] = where, project.extended(service, where, key, found, ())
    name = project.variables.filled(text(project.given.get("name"), f"{project.name}: name"))
    name = name or plain(project.folder.name) or "project"
    left_out: list[str] = []
    workloads = _workloads(name, project, found, left_out)
    places = "Compose runs a project in one place."
    networks = sorted({one.place for one in workloads.values()})
    if networks != [name]:
        places = "Services of these networks cannot reach each other: each is a place of its own."
    source = f"the Compose file {project.name}"
    return draft(name, source, workloads, left_out, places)


class _Project:
    """The files of a project, none of them outside its folder."""

    def __init__(self, path: str):
        try:
            self.file = None if path == "-" else Path(path).resolve()
        except (OSError, ValueError, RuntimeError):
            raise InvalidSystem(f"{show(path)}: cannot be read; expected a Compose file") from None
        self.folder = self.file.parent if self.file else Path.cwd().resolve()
        self.name = plain(Path(path).name) or show(path)
        self.allowance = Allowance()
        self.variables = _Variables(self.allowance)
        self.known: dict[Path | None, Mapping] = {}
        self.given = self.read(self.file)
        if (self.folder / ".env").is_file():
            lines = _lines(self.inside(".env", None, ".env"))
            self.variables.known |= dict(self.variables.pairs(lines))

    def read(self, file: Path | None) -> Mapping:
        """A Compose file."""
        if file in self.known:
            return self.known[file]
        place = self.place(file)
        found = text_of(file or "-", {}, "", "Compose", InvalidSystem)[1]
        self.allowance.take(len(found))
        try:
            documents = parse_all(found, place)
        except InvalidSystem as error:
            if "!reset" in found or "!override" in found:
                raise InvalidSystem(
                    f"{error}; or import what `docker compose config` prints, which carries it out"
                ) from None
            raise
        if not documents:
            raise InvalidSystem(f"{place}: the file is empty; expected a Compose file")
        if len(documents) > 1 or not isinstance(documents[0], Mapping):
            raise InvalidSystem(f"{place}: expected a Compose file: one mapping with services")
        if "apiVersion" in documents[0]:
            raise InvalidSystem(
                f"{place}: a Kubernetes manifest was found; expected a Compose file; "
                "use `decouple import kubernetes`"
            )
        self.known[file] = documents[0]
        return documents[0]

    def place(self, file: Path | None) -> str:
        return plain(str(file.relative_to(self.folder))) if file else "-"

    def inside(self, name: Any, of: Path | None, place: str) -> Path:
        """A file of the project's folder that another names. Raises InvalidSystem."""
        name = self.variables.filled(text(name, place))
        try:
            file = ((of.parent if of else self.folder) / name).resolve()
            outside = not file.is_relative_to(self.folder)
        except (OSError, ValueError, RuntimeError):
            raise InvalidSystem(f"{place}: {show(name)} was found; expected a file name") from None
        if outside:
            raise InvalidSystem(
                f"{place}: {show(name)} is outside the folder of {self.name}; expected a file in it; "
                "write all into one file with `docker compose config`"
            )
        return file

    def services(
        self, file: Path | None, given: Mapping, above: tuple
    ) -> dict[str, tuple[Path | None, Mapping]]:
        """The services of a file and of those that it includes, each with its file."""
        place = self.place(file)
        if file in above:
            raise InvalidSystem(f"{place}: this includes itself; remove the loop")
        found: dict[str, tuple[Path | None, Mapping]] = {}
        include = given.get("include")
        for number, one in enumerate(sequence(include, f"{place}: include")):
            where = f"{place}: include[{number}]"
            names = one.get("path") if isinstance(one, Mapping) else one
            for name in names if isinstance(names, list) else [names]:
                other = self.inside(name, file, where)
                more = self.services(other, self.read(other), (*above, file))
                _no_twins(found, more, where)
                found |= more
        services = mapping(given.get("services"), f"{place}: services")
        own = {
            str(key): (file, mapping(value, f"{place}: services.{plain(key)}"))
            for key, value in services.items()
        }
        _no_twins(found, own, f"{place}: services")
        return found | own

    def extended(self, service, file, name, known, above) -> Mapping:
        """A service with what it extends."""
        place = f"{self.place(file)}: services.{plain(name)}.extends"
        extends = service.get("extends")
        if extends is None:
            return service
        if (file, name) in above or len(above) > 100:
            raise InvalidSystem(f"{place}: this extends itself; remove the loop")
        extends = {"service": extends} if isinstance(extends, str) else mapping(extends, place)
        base = text(extends.get("service"), f"{place}.service")
        if extends.get("file") is not None:
            file = self.inside(extends["file"], file, f"{place}.file")
            known = self.services(file, self.read(file), ())
        if base not in known:
            raise InvalidSystem(
                f"{place}: {show(base)} is not a service; expected one that there is"
            )
        where, found = known[base]
        found = self.extended(found, where, base, known, (*above, (file, name)))
        own = {key: value for key, value in service.items() if key != "extends"}
        return _merged(found, own, self.allowance)


def _no_twins(one: Mapping, other: Mapping, place: str) -> None:
    if twice := set(one) & set(other):
        raise InvalidSystem(f"{place}: {show(min(twice))} is there twice; remove one")


def _merged(base: Any, own: Any, allowance: Allowance) -> Any:
    """Mappings merged, lists joined, everything else replaced."""
    if isinstance(base, Mapping) and isinstance(own, Mapping):
        allowance.take(len(base))
        own = {key: _merged(base.get(key), value, allowance) for key, value in own.items()}
        return {**base, **own}
    if isinstance(base, list) and isinstance(own, list):
        allowance.take(len(base))
        return [*base, *own]
    return own


class _Variables:
    """What `.env` says, and the defaults in `${NAME:-default}`."""

    def __init__(self, allowance: Allowance):
        self.known: dict[str, str] = {}
        self.allowance = allowance

    def pairs(self, lines: str) -> Iterator[tuple[str, str]]:
        """(name, value) of the lines of an environment file."""
        known: dict[str, str] = {}
        for line in lines.splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and re.fullmatch(r"\w+", name.strip()):
                value = value.strip()
                quote = value[:1] if value[:1] in ("'", '"') else ""
                value = value[1:].partition(quote)[0] if quote else value.partition(" #")[0].strip()
                known[name.strip()] = value if quote == "'" else self.filled(value, known)
        yield from known.items()

    def filled(self, text: str, more: Mapping[str, str] | None = None) -> str:
        """The text with its variables put in; those that are not known are empty."""
        known = {**self.known, **(more or {})} if more else self.known

        def value(found):
            if found[0] == "$$":
                return "$"
            given = known.get(found[1] or found[2], "")
            way, other = found[3] or "", found[4] or ""
            if way.endswith("-") and not given:
                given = other
            if way.endswith("+"):
                given = other if given else ""
            self.allowance.take(len(given))
            return given

        for _ in range(3):  # defaults inside defaults, the innermost first
            if "$" not in text or (new := _VARIABLE.sub(value, text)) == text:
                break
            text = new
        return text


# From services to workloads


def _workloads(name, project, services, left_out) -> dict[str, Workload]:
    found: dict[str, Workload] = {}
    reached_as: dict[str, str] = {}
    networks: dict[str, list[str]] = {}
    jobs = set()
    for key, (file, service) in services.items():
        for other, condition in _depends_on(service, _at(project, file, key)).items():
            if condition == "service_completed_successfully":
                jobs.add(other)
    for key, (file, service) in services.items():
        place = _at(project, file, key)
        deploy = mapping(service.get("deploy"), f"{place}.deploy")
        mode = deploy.get("mode")
        if key in jobs or mode in ("replicated-job", "global-job"):
            left_out.append(f"{key}, which runs to an end")
            continue
        found[key] = _workload(key, service, deploy, project, place)
        networks[key] = _networks(service, place)
        reached_as |= dict.fromkeys(_other_names(service, place), key)
    reached_as |= {key: key for key in found}
    for key, one in found.items():
        file, service = services[key]
        place = _at(project, file, key)
        aliases = dict(reached_as)
        for link in sequence(service.get("links"), f"{place}.links"):
            target, _, alias = text(link, f"{place}.links").partition(":")
            aliases[alias or target] = target
            if target in found and target != key:
                one.named.setdefault(target, []).append("links")
        for other in _depends_on(service, place):
            if other not in services:
                left_out.append(f"depends_on {other} of {key}: there is no such service")
            elif other in found and other != key:
                one.named.setdefault(other, []).append("depends_on")
        for variable, value in _environment(project, file, service, place, left_out):
            project.allowance.take(len(value))
            for host in hosts(variable, value):
                other = aliases.get(host, host)
                if other in found and other != key:
                    one.named.setdefault(other, []).append(variable)
    _sites(name, found, networks)
    return found


def _at(project, file, key) -> str:
    return f"{project.place(file)}: services.{plain(key)}"


def _workload(key, service, deploy, project, place) -> Workload:
    fill = project.variables.filled
    labels = [
        _pairs(of.get("labels"), f"{where}.labels")
        for of, where in ((service, place), (deploy, f"{place}.deploy"))
    ]
    team, owned = owner(*({k: fill(str(v)) for k, v in one.items()} for one in labels))
    one = Workload(key, "", team, owned)
    if image := fill(text(service.get("image"), f"{place}.image")):
        one.images = (image,)
    said = {
        name: value
        for name, value in (("scale", service.get("scale")), ("replicas", deploy.get("replicas")))
        if value is not None
    }
    numbers = set()
    for name, value in said.items():
        where = f"{place}.{'deploy.' if name == 'replicas' else ''}{name}"
        value = fill(value) if isinstance(value, str) else value
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
            value = int(value)
        numbers.add(None if value == "" else count(value, where))
    if len(numbers) > 1:
        raise InvalidSystem(f"{place}.scale: another number than deploy.replicas; leave one out")
    if numbers:
        one.replicas = numbers.pop()
        one.counted = f"{' and '.join(said)}: {one.replicas or 0}"
        if one.replicas is None:
            one.counted = f"{' and '.join(said)}: a variable that is not known here"
    if deploy.get("mode") == "global":
        one.replicas, one.counted = None, "one replica on each machine"
    if sequence(service.get("ports"), f"{place}.ports"):
        one.notes.append("Published on a port.")
    if profiles := sequence(service.get("profiles"), f"{place}.profiles"):
        one.notes.append(f"Only in the profiles {', '.join(map(plain, profiles))}.")
    return one


def _depends_on(service: Mapping, place: str) -> dict[str, str]:
    """Service -> condition."""
    given = service.get("depends_on")
    if isinstance(given, Mapping):
        return {
            str(key): str(mapping(value, f"{place}.depends_on").get("condition"))
            for key, value in given.items()
        }
    return {text(one, f"{place}.depends_on"): "" for one in sequence(given, f"{place}.depends_on")}


def _environment(project, file, service, place, left_out) -> Iterator[tuple[str, str]]:
    fill = project.variables.filled
    given = service.get("env_file")
    for number, one in enumerate(given if isinstance(given, list) else [given] if given else []):
        where = f"{place}.env_file[{number}]"
        try:
            env_file = project.inside(
                one.get("path") if isinstance(one, Mapping) else one, file, where
            )
            lines = _lines(env_file)
            project.allowance.take(len(lines))
        except InvalidSystem as error:  # it would only have given hints
            left_out.append(str(error))
            continue
        yield from project.variables.pairs(lines)
    for name, value in _pairs(service.get("environment"), f"{place}.environment").items():
        if value is None:
            value = project.variables.known.get(name, "")
        yield name, fill(value if isinstance(value, str) else str(value))


def _lines(file: Path) -> str:
    return text_of(file, {}, "", "environment", InvalidSystem)[1]


def _pairs(given: Any, place: str) -> dict[str, Any]:
    """What is written as a mapping, or as a list of `name=value`."""
    if isinstance(given, list):
        split = [text(one, place).partition("=") for one in given]
        return {name: value if equals else None for name, equals, value in split}
    return {str(name): value for name, value in mapping(given, place).items()}


def _other_names(service: Mapping, place: str) -> Iterator[str]:
    for key in ("container_name", "hostname"):
        if service.get(key) is not None:
            yield text(service[key], f"{place}.{key}")
    given = service.get("networks")
    for network in given.values() if isinstance(given, Mapping) else ():
        aliases = mapping(network, f"{place}.networks").get("aliases")
        yield from map(str, sequence(aliases, f"{place}.networks"))


def _networks(service: Mapping, place: str) -> list[str]:
    given = service.get("networks")
    names = [*given] if isinstance(given, Mapping) else sequence(given, f"{place}.networks")
    return list(map(plain, names)) or ["default"]


def _sites(name: str, found: Mapping[str, Workload], networks: Mapping[str, list[str]]) -> None:
    """One place for all, or one for each group of networks that no service joins together."""
    group = {network: {network} for of in networks.values() for network in of}
    for of in networks.values():
        joined = set().union(*(group[network] for network in of))
        for network in joined:
            group[network] = joined
    several = len({min(one) for one in group.values()}) > 1
    for key, one in found.items():
        one.place = min(group[networks[key][0]]) if several else name
