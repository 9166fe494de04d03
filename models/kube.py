"""Kubernetes manifests read as a system with gaps; see `models.manifests` for what is taken from them.

Files of one or more YAML documents, folders of them, and what `kubectl get ... -o yaml` or `-o json`
prints (also on the standard input, `-`). Values of Secrets are never looked at. Templates have to
be rendered first (`helm template`, `kubectl kustomize`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.checks import InvalidSystem, listed, show
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
from models.reading import MAX_BYTES, parse_all, text_of

MAX_FILES = 10_000
WORKLOADS = (
    "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Pod",
    "Rollout", "DeploymentConfig",
)  # fmt: skip
JOBS = ("Job", "CronJob")
ROUTES = ("Ingress", "HTTPRoute", "GRPCRoute")
USED = (*WORKLOADS, *JOBS, *ROUTES, "Service", "ConfigMap", "Namespace", "HorizontalPodAutoscaler")
GROUPS = (  # a kind of another group is another kind: Knative has a Service, too
    "", "apps", "extensions", "autoscaling", "batch", "networking.k8s.io",
    "gateway.networking.k8s.io", "argoproj.io", "apps.openshift.io",
)  # fmt: skip
COPIES = 1  # of a workload or an autoscaler that does not say how many; as Kubernetes has it
DEFAULT = "default"  # the namespace of what names none


def kubernetes(paths: Sequence[str]) -> Draft:
    """The system that manifests describe. Raises InvalidSystem."""
    objects: dict[tuple[str, str, str], _Object] = {}
    skipped: Counter[str] = Counter()
    left_out: list[str] = []
    for place, document in _documents(paths, left_out):
        for one in _expanded(place, document):
            if one.kind not in USED or one.group not in GROUPS:
                skipped[f"{one.kind} ({one.group or 'v1'})" if one.kind in USED else one.kind] += 1
                continue
            key = one.kind, one.namespace, one.name
            if key in objects:
                raise InvalidSystem(
                    f"{one.place}: {one.kind} {one.name} of the namespace {one.namespace} was found in "
                    f"{objects[key].place} already; expected it once; remove one, or render an overlay "
                    "with `kubectl kustomize`"
                )
            objects[key] = one
    for kind, number in sorted(skipped.items()):
        left_out.append(f"{number} of kind {kind}, which says nothing about a system")
    cluster = _Cluster(objects, left_out)
    workloads = cluster.workloads()
    names = {one.place for one in workloads.values()}
    first = plain(Path(paths[0]).resolve().stem) if paths[0] != "-" else "cluster"
    files = [Path(path).resolve().name if path != "-" else "-" for path in paths]
    shown = ", ".join(map(plain, files[:5])) + (", ..." if len(files) > 5 else "")
    return draft(
        names.pop() if len(names) == 1 else first,
        f"the Kubernetes manifests {shown}",
        workloads,
        left_out,
        "Namespaces. Write what fails together as one, such as a cluster or a zone.",
    )


class _Object:
    """One object of a cluster."""

    def __init__(self, place: str, data: Mapping):
        self.place, self.data = place, data
        self.kind = plain(data.get("kind"))
        group, slash, _ = plain(data.get("apiVersion")).partition("/")
        self.group = group if slash else ""
        about = mapping(data.get("metadata"), f"{place}: metadata")
        self.name = plain(about.get("name")) or plain(about.get("generateName"))
        self.namespace = plain(about.get("namespace")) or DEFAULT
        self.at = f"{place}: {self.kind} {self.name}"
        if self.kind in USED and not self.name:
            raise InvalidSystem(
                f"{place}: {self.kind}: metadata.name: nothing was found; expected it"
            )
        self.labels = mapping(about.get("labels"), f"{self.at}: metadata.labels")
        self.annotations = mapping(about.get("annotations"), f"{self.at}: metadata.annotations")
        self.owners = [
            mapping(one, f"{self.at}: metadata.ownerReferences")
            for one in sequence(
                about.get("ownerReferences"), f"{self.at}: metadata.ownerReferences"
            )
        ]
        self.spec = self.part(data, "spec")

    def part(self, of: Mapping, *keys: str) -> Mapping:
        for key in keys:
            of = mapping(of.get(key), f"{self.at}: {key}")
        return of

    def parts(self, of: Mapping, key: str) -> list[Mapping]:
        where = f"{self.at}: {key}"
        return [mapping(one, where) for one in sequence(of.get(key), where)]


def _documents(paths: Sequence[str], left_out: list[str]) -> Iterator[tuple[str, Mapping]]:
    """(place, document) of every file; a folder is read with its sub-folders."""
    size = files = 0
    for path in paths:
        named = path == "-" or not Path(path).is_dir()
        for file in [path] if named else _inside(Path(path)):
            place = plain(str(file)) or show(str(file))
            found = text_of(file, {}, "", "YAML", InvalidSystem)[1]
            size += len(found)
            files += 1
            if size > MAX_BYTES or files > MAX_FILES:
                raise InvalidSystem(
                    f"{place}: more than {MAX_FILES:,} files or {MAX_BYTES:,} characters with those "
                    "before; expected fewer"
                )
            documents = _parsed(found, place)
            if not documents and named:
                raise InvalidSystem(f"{place}: the file is empty; expected Kubernetes manifests")
            for number, document in enumerate(documents):
                where = place if len(documents) == 1 else f"{place}, document {number + 1}"
                if isinstance(document, Mapping) and document.get("kind") is not None:
                    yield where, document
                elif named:
                    compose = isinstance(document, Mapping) and "services" in document
                    hint = "; use `decouple import compose`" if compose else ""
                    raise InvalidSystem(
                        f"{where}: no kind was found; expected a Kubernetes manifest{hint}"
                    )
                else:
                    left_out.append(f"{where}, which is no manifest: it has no kind")


def _inside(folder: Path) -> list[Path]:
    """The YAML and JSON files below a folder; links that lead out of it are not followed."""
    root = folder.resolve()
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".yml", ".yaml", ".json")
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
        and file.resolve().is_relative_to(root)
    ]
    if not found:
        raise InvalidSystem(
            f"{plain(str(folder))}: no YAML or JSON file was found; expected Kubernetes manifests"
        )
    return found


def _parsed(found: str, place: str) -> list[Any]:
    try:
        return parse_all(found, place)
    except InvalidSystem as error:
        if "{{" in found:
            raise InvalidSystem(
                f"{error}; render the templates first, with `helm template`"
            ) from None
        raise


def _expanded(place: str, document: Mapping) -> Iterator[_Object]:
    """The objects of a document, of which a List has several."""
    kind = plain(document.get("kind"))
    if not kind.endswith("List") or not isinstance(document.get("items"), list):
        yield _Object(place, document)
        return
    for number, item in enumerate(document["items"]):
        where = f"{place}: items[{number}]"
        known = {"kind": kind.removesuffix("List"), "apiVersion": document.get("apiVersion")}
        item = mapping(item, where)
        given = {key: value for key, value in item.items() if value is not None}
        yield _Object(where, {**(known if kind != "List" else {}), **given})


class _Cluster:
    """What the objects say together."""

    def __init__(self, objects: Mapping[tuple[str, str, str], _Object], left_out: list[str]):
        self.objects, self.left_out = objects, left_out
        self.allowance = Allowance()

    def of(self, *kinds: str) -> Iterator[_Object]:
        return (one for one in self.objects.values() if one.kind in kinds)

    def workloads(self) -> dict[tuple[str, str, str], Workload]:
        """(kind, namespace, name) -> workload."""
        found: dict[tuple[str, str, str], Workload] = {}
        specs: dict[tuple[str, str, str], _Object] = {}
        for job in self.of(*JOBS):
            self.left_out.append(f"the {job.kind} {job.name}, which runs to an end")
        for one in self.of(*WORKLOADS):
            key = self.stands_for(one)
            if key is None:
                continue
            if key in found:
                found[key].replicas = (found[key].replicas or 0) + self.copies(one)
                found[key].counted = f"{found[key].replicas} pods"
                continue
            specs[key] = one
            found[key] = self.workload(key, one)
        self.scaled(found)
        names = self.names(found, specs)
        opened = {names.get(name) for name in self.opened()}
        for key, workload in found.items():
            if key in opened:
                workload.notes.append("Open to requests from outside.")
            for variable, value in self.environment(specs[key]):
                self.allowance.take(len(value) + 1)
                for host in hosts(variable, value):
                    other = _resolved(host, key[1], names)
                    if other is not None and other != key:
                        workload.named.setdefault(other, []).append(variable)
        return found

    def stands_for(self, one: _Object) -> tuple[str, str, str] | None:
        """The workload that an object is part of; None if it belongs to another that is there."""
        for controller in one.owners:
            kind, name = plain(controller.get("kind")), plain(controller.get("name"))
            if kind in JOBS or (kind, one.namespace, name) in self.objects:
                return None
            if kind in WORKLOADS:
                if kind == "ReplicaSet":  # of a Deployment, whose name stands before the hash
                    kind = "Deployment"
                    name = name.removesuffix(f"-{plain(one.labels.get('pod-template-hash'))}")
                if (kind, one.namespace, name) in self.objects:
                    return None
                return kind, one.namespace, name
        return one.kind, one.namespace, one.name

    def workload(self, key, one: _Object) -> Workload:
        pod = one.part(one.spec, "template")
        about = mapping(pod.get("metadata"), f"{one.at}: template.metadata")
        labels = mapping(about.get("labels"), f"{one.at}: template.metadata.labels")
        namespace = self.objects.get(("Namespace", DEFAULT, one.namespace))
        around = [namespace.labels, namespace.annotations] if namespace else []
        team, owned = owner(one.labels, labels, one.annotations, *around)
        containers = one.parts(self.pod_spec(one), "containers")
        images = tuple(
            image
            for container in containers
            if (image := text(container.get("image"), f"{one.at}: image"))
        )
        found = Workload(key[2], one.namespace, team, owned, images=images)
        found.replicas = self.copies(one)
        found.counted = f"{found.replicas} replica{'s' * (found.replicas != 1)}"
        if one.spec.get("replicas") is None:
            found.counted += ", since nothing else is said"
        if one.kind == "DaemonSet":
            found.replicas, found.counted = None, "one replica on each node"
        return found

    def copies(self, one: _Object) -> int:
        replicas = one.spec.get("replicas")
        return COPIES if replicas is None else count(replicas, f"{one.at}: spec.replicas")

    def pod_spec(self, one: _Object) -> Mapping:
        return one.spec if one.kind == "Pod" else one.part(one.spec, "template", "spec")

    def scaled(self, found: Mapping[tuple[str, str, str], Workload]) -> None:
        """Replicas as the least of an autoscaler."""
        for one in self.of("HorizontalPodAutoscaler"):
            target = one.part(one.spec, "scaleTargetRef")
            key = plain(target.get("kind")), one.namespace, plain(target.get("name"))
            if key not in found:
                self.left_out.append(
                    f"the HorizontalPodAutoscaler {one.name}, whose {key[0]} {key[2]} is not there"
                )
                continue
            least = one.spec.get("minReplicas")
            least = COPIES if least is None else count(least, f"{one.at}: spec.minReplicas")
            found[key].replicas = least
            most = one.spec.get("maxReplicas")
            upper = "" if most is None else f" to {count(most, f'{one.at}: spec.maxReplicas')}"
            found[key].counted = f"{least}{upper} replicas, by an autoscaler; taken is the least"

    def names(self, found, specs) -> dict[tuple[str, str], tuple[str, str, str]]:
        """(namespace, host) -> workload: its own name, and the Services that select its pods."""
        names = {(key[1], key[2]): key for key in found}
        labels: dict[str, list[tuple[tuple, Mapping]]] = {}
        for key, one in specs.items():
            about = one.labels
            if one.kind != "Pod":
                about = mapping(
                    one.part(one.spec, "template").get("metadata"), f"{one.at}: template.metadata"
                )
                about = mapping(about.get("labels"), f"{one.at}: template.metadata.labels")
            labels.setdefault(key[1], []).append((key, about))
        for one in self.of("Service"):
            wanted = mapping(one.spec.get("selector"), f"{one.at}: spec.selector").items()
            if not wanted:
                self.left_out.append(f"the Service {one.name}, which selects no pods")
                continue
            chosen = []
            for key, about in labels.get(one.namespace, ()):
                self.allowance.take(10)
                if all(about.get(name) == value for name, value in wanted):
                    chosen.append(key)
            if chosen:
                names[one.namespace, one.name] = chosen[0]
            if len(chosen) > 1:
                others = listed([key[2] for key in chosen[1:4]]) + ", ..." * (len(chosen) > 4)
                self.left_out.append(
                    f"{others} from what the Service {one.name} selects; here, calls to it go to "
                    f"{chosen[0][2]} alone"
                )
        return names

    def opened(self) -> set[tuple[str, str]]:
        """(namespace, Service) that requests from outside reach."""
        found = {
            (one.namespace, one.name)
            for one in self.of("Service")
            if one.spec.get("type") in ("LoadBalancer", "NodePort")
        }
        for one in self.of(*ROUTES):
            backends = [one.part(one.spec, "defaultBackend")]
            for rule in one.parts(one.spec, "rules"):
                backends += one.parts(rule, "backendRefs")
                for path in one.parts(one.part(rule, "http"), "paths"):
                    backends.append(one.part(path, "backend"))
            for backend in backends:
                service = backend.get("service")
                named = service.get("name") if isinstance(service, Mapping) else None
                name = named or backend.get("serviceName") or backend.get("name")
                place = plain(backend.get("namespace")) or one.namespace
                found.add((place, plain(name)))
        return found

    def environment(self, one: _Object) -> Iterator[tuple[str, str]]:
        """(variable, value) of its containers, ConfigMaps included."""
        pod = self.pod_spec(one)
        for container in one.parts(pod, "containers"):
            for source in one.parts(container, "envFrom"):
                data = self.config(one, plain(one.part(source, "configMapRef").get("name")))
                for name, value in data.items():
                    yield str(name), value if isinstance(value, str) else ""
            for variable in one.parts(container, "env"):
                value = variable.get("value")
                chosen = one.part(variable, "valueFrom", "configMapKeyRef")
                if chosen:
                    value = self.config(one, plain(chosen.get("name"))).get(
                        plain(chosen.get("key"))
                    )
                yield plain(variable.get("name")), value if isinstance(value, str) else ""

    def config(self, one: _Object, name: str) -> Mapping:
        found = self.objects.get(("ConfigMap", one.namespace, name))
        return mapping(found.data.get("data"), f"{found.at}: data") if found else {}


def _resolved(host: str, namespace: str, names: Mapping) -> tuple[str, str, str] | None:
    """The workload behind a host: NAME, NAME.NAMESPACE or NAME.NAMESPACE.svc..., also with the name
    of a pod before it."""
    match host.lower().rstrip(".").split("."):
        case [name]:
            tries = [(namespace, name)]
        case [name, place]:
            tries = [(place, name), (namespace, place)]
        case [name, place, "svc", *_]:
            tries = [(place, name)]
        case [_, name, place, *_]:
            tries = [(place, name)]
        case _:
            tries = []
    return next((names[one] for one in tries if one in names), None)
