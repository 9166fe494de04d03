"""Systems from Compose files and Kubernetes manifests: real samples, made by the real libraries."""

import copy
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import yaml
from click.testing import CliRunner
from fuzzing import fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes import client
from test_bad_input import JUNK, SENTENCE, faults

from models import System, simulate
from models.checks import FILL_IN, TO_FILL_IN, InvalidSystem, place_of
from models.cli import main
from models.compose import compose
from models.kube import kubernetes
from models.manifests import PARTITIONED, QUEUES, hosts, image_name, owner
from models.reading import MAX_BYTES, bundled, dump, parse, parse_all


def decouple(*words, given=None):
    return CliRunner().invoke(main, [str(word) for word in words], input=given)


def filled(draft):
    """The system with a plausible number in every gap, by way of the file."""
    data = parse(draft.to_yaml())
    for path in draft.gaps():
        part = data
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = {"workers": 2, "partitions": 4}.get(path[-1], 1.5)
    return System.model_validate(data)


def tree(step):
    return {step["service"]: [tree(below) for below in step.get("then", ())]}


# --- what is still to be filled in ------------------------------------------------------------------


def leaves(data, path=()):
    if isinstance(data, dict | list) and data:
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, key))
    else:
        yield path


@pytest.mark.parametrize("name", bundled())
def test_no_value_of_any_kind_can_be_the_mark(name):
    system = System.load(name).to_dict()
    for path in leaves(system):
        data = copy.deepcopy(system)
        part = data
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = FILL_IN
        said = faults(data)
        assert any(line.startswith(f"{place_of(path)}: ") and TO_FILL_IN in line for line in said)
        assert all(SENTENCE.fullmatch(line) for line in said)


def test_every_gap_is_said_and_other_faults_before():
    data = System.load("shop").to_dict()
    steps = data["flows"]["place_order"]["root"]["then"]
    steps += [{"service": "stock", "work": {"mean_ms": FILL_IN}} for _ in range(100)]
    steps += [{"service": "stock", "work": {"mean_ms": -1}}]
    said = faults(data)
    assert "-1 was found" in said[0]
    assert sum(TO_FILL_IN in line for line in said) == len(said) - 1 == 100


def test_lists_of_numbers_are_written_as_filled_lines():
    data = {"work": {"distribution": "empirical", "values_ms": [one / 7 for one in range(200)]}}
    text = dump({"name": "System", "flow": data})
    assert len(text.splitlines()) < 50
    assert max(map(len, text.splitlines())) < 130
    assert parse(text) == {"name": "System", "flow": data}


def test_comments_stand_above_what_they_are_about():
    data = {"a": {"b": [{"c": 1, "d": ["x" * 90, {"e": {"f": "on"}}]}]}, "g": {"h": {}}}
    notes = {(): "Head.\nMore.", ("a", "b", 0, "d", 1): "word " * 40, ("g", "h"): "a\x07\tb # c"}
    lines = dump(data, notes).splitlines()
    assert parse("\n".join(lines)) == data
    assert lines[:2] == ["# Head.", "# More."]
    assert lines[lines.index("  # a  b # c") + 1] == "  h: {}"
    item = next(n for n, line in enumerate(lines) if line.lstrip().startswith("- {e:"))
    above = [line for line in lines[:item] if "word" in line]
    assert " ".join(above).count("word") == 40 and all(len(line) <= 98 for line in above)
    assert lines[item - 1] == above[-1]


# --- Kubernetes -------------------------------------------------------------------------------------


def named(name, namespace="shop", **more):
    return client.V1ObjectMeta(name=name, namespace=namespace, **more)


def pods(name, image, env=(), env_from=None, **labels):
    container = client.V1Container(
        name=name, image=image, env=[client.V1EnvVar(name=k, value=v) for k, v in env],
        env_from=env_from,
    )  # fmt: skip
    return client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": name, **labels}),
        spec=client.V1PodSpec(containers=[container]),
    )


def deployment(name, namespace="shop", replicas=None, labels=None, **template):
    return client.V1Deployment(
        api_version="apps/v1", kind="Deployment", metadata=named(name, namespace, labels=labels),
        spec=client.V1DeploymentSpec(
            replicas=replicas, selector=client.V1LabelSelector(match_labels={"app": name}),
            template=pods(name, **template),
        ),
    )  # fmt: skip


def service(name, namespace="shop", kind="ClusterIP", app=None):
    spec = client.V1ServiceSpec(selector={"app": app or name}, type=kind)
    return client.V1Service(
        api_version="v1", kind="Service", metadata=named(name, namespace), spec=spec
    )


SECRET = "hunter2-is-never-shown"


def cluster():
    """A shop in two namespaces, as the objects of Kubernetes' own client."""
    backend = client.V1IngressBackend(service=client.V1IngressServiceBackend(name="web"))
    path = client.V1HTTPIngressPath(backend=backend, path="/", path_type="Prefix")
    rule = client.V1IngressRule(http=client.V1HTTPIngressRuleValue(paths=[path]))
    from_map = [
        client.V1EnvFromSource(config_map_ref=client.V1ConfigMapEnvSource(name="addresses"))
    ]
    stateful = deployment(
        "kafka", replicas=3, image="quay.io/strimzi/kafka:0.40", env=[("X", "web:1")]
    )
    stateful = client.V1StatefulSet(
        api_version="apps/v1", kind="StatefulSet", metadata=stateful.metadata,
        spec=client.V1StatefulSetSpec(
            replicas=3, selector=stateful.spec.selector, service_name="kafka",
            template=stateful.spec.template,
        ),
    )  # fmt: skip
    daemon = deployment("agent", image="agent")
    target = client.V2CrossVersionObjectReference(kind="Deployment", name="payment")
    database = [("DSN", f"postgres://orders:{SECRET}@store:5432/x"), ("KAFKA", "kafka:9092")]
    return [
        client.V1Namespace(
            api_version="v1", kind="Namespace",
            metadata=client.V1ObjectMeta(name="depot", labels={"team": "warehouse"}),
        ),
        deployment("web", replicas=2, image="reg.example:5000/web:1", env_from=from_map,
                   labels={"team": "shopfront", "app.kubernetes.io/part-of": "no"}),
        deployment("orders", replicas=4, image="orders@sha256:0", env=database,
                   labels={"example.com/owner": "checkout"}),
        deployment("payment", replicas=9, image="payment", **{"app.kubernetes.io/part-of": "money"}),
        deployment("stock", "depot", replicas=0, image="stock:2",
                   env=[("BROKERS", "kafka-0.kafka.shop.svc.cluster.local:9092")]),
        deployment("store", image="postgres:16"),
        stateful,
        client.V1DaemonSet(
            api_version="apps/v1", kind="DaemonSet", metadata=daemon.metadata,
            spec=client.V1DaemonSetSpec(selector=daemon.spec.selector, template=daemon.spec.template),
        ),
        service("web"), service("orders"), service("pay", app="payment"), service("kafka"),
        service("store"), service("stock", "depot"),
        client.V1ConfigMap(
            api_version="v1", kind="ConfigMap", metadata=named("addresses"),
            data={"ORDERS_URL": "http://orders/x", "PAY_HOST": "pay", "STOCK": "stock.depot:80"},
        ),
        client.V1Secret(
            api_version="v1", kind="Secret", metadata=named("s"), string_data={"P": SECRET}
        ),
        client.V2HorizontalPodAutoscaler(
            api_version="autoscaling/v2", kind="HorizontalPodAutoscaler", metadata=named("pay"),
            spec=client.V2HorizontalPodAutoscalerSpec(
                min_replicas=3, max_replicas=20, scale_target_ref=target
            ),
        ),
        client.V1Ingress(
            api_version="networking.k8s.io/v1", kind="Ingress", metadata=named("in"),
            spec=client.V1IngressSpec(rules=[rule]),
        ),
        client.V1Job(
            api_version="batch/v1", kind="Job", metadata=named("migrate"),
            spec=client.V1JobSpec(template=pods("migrate", "m")),
        ),
        client.V1PodDisruptionBudget(
            api_version="policy/v1", kind="PodDisruptionBudget", metadata=named("b")
        ),
    ]  # fmt: skip


def plain(objects):
    return client.ApiClient().sanitize_for_serialization(objects)


def write(path, objects):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(plain(objects)))
    return str(path)


@pytest.fixture
def manifests(tmp_path):
    return write(tmp_path / "shop.yml", cluster())


def test_kubernetes(manifests):
    draft = kubernetes([manifests])
    data = draft.data
    assert data["services"] == {
        "web": {"infrastructure": "shop", "team": "shopfront", "workers": 2},
        "orders": {"infrastructure": "shop", "team": "checkout", "workers": 4},
        "payment": {"infrastructure": "shop", "team": "money", "workers": 3},
        "stock": {"infrastructure": "depot", "team": "warehouse", "workers": FILL_IN},
        "store": {"infrastructure": "shop", "workers": 1},
        "agent": {"infrastructure": "shop", "workers": FILL_IN},
    }
    assert list(data["infrastructures"]) == ["shop", "depot"]
    broker = {"infrastructure": "shop", "ack": {"mean_ms": FILL_IN}, "partitions": FILL_IN}
    assert data["brokers"] == {"kafka": broker}
    assert data["network"] == {
        "within_ms": FILL_IN, "between": [{"ends": ["depot", "shop"], "rtt_ms": FILL_IN}]
    }  # fmt: skip
    assert list(data["flows"]) == ["web", "agent"]
    assert tree(data["flows"]["web"]["root"]) == {
        "web": [{"orders": [{"store": []}]}, {"payment": []}, {"stock": []}]
    }
    said = "\n".join(draft.left_out)
    for word in ("the Job migrate", "1 of kind PodDisruptionBudget", "1 of kind Secret"):
        assert word in said
    text = draft.to_yaml()
    assert SECRET not in text + said
    for line in ("3 to 20 replicas, by an autoscaler", "Open to requests from outside",
                 "One replica on each node", "0 replicas: how many workers?",
                 "Named by orders (KAFKA) and stock (BROKERS)", "Team from label example.com/owner",
                 "Guessed from ORDERS_URL", "1 replica, since nothing else is said"):  # fmt: skip
        assert line in " ".join(text.replace("#", "").split()), line
    assert len(draft.gaps()) == text.count(f": {FILL_IN}") == 14
    system = filled(draft)
    assert simulate(system, requests=300, seed=1).requests.outcome.eq("ok").all()


def test_the_unfilled_file_says_every_gap_once(manifests, tmp_path):
    out = tmp_path / "mine.yml"
    result = decouple("import", "kubernetes", manifests, "-o", out)
    assert result.exit_code == 0 and "14 places to be filled in" in result.stderr
    for command in ("check", "run", "draw", "road", "claims"):
        refused = decouple(command, out)
        assert refused.exit_code == 2
        lines = refused.stderr.strip().split("\n")
        assert len(lines) == 14 and all(TO_FILL_IN in line for line in lines)
    draft = kubernetes([manifests])
    assert {line.partition(": ")[0] for line in lines} == set(map(place_of, draft.gaps()))
    before = out.read_text()
    assert decouple("import", "kubernetes", manifests, "-o", out).exit_code == 2
    assert out.read_text() == before
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".part"] == []
    shown = json.loads(decouple("import", "kubernetes", manifests, "--json").stdout)
    assert shown["system"] == draft.data and len(shown["to_fill_in"]) == 14


def test_the_same_from_a_folder_lists_and_the_standard_input(manifests, tmp_path):
    data = kubernetes([manifests]).data
    objects = cluster()
    folder = tmp_path / "shop"
    for number, one in enumerate(objects):
        write(folder / f"{number // 5}" / f"{number:02}.yaml", [one])
    (folder / "values.yaml").write_text("replicas: 3\n")
    (folder / ".hidden.yaml").write_text("not: [valid")
    draft = kubernetes([str(folder)])
    assert draft.data | {"source": ""} == data | {"source": ""}
    assert any("values.yaml, which is no manifest" in one for one in draft.left_out)
    listed = {"apiVersion": "v1", "kind": "List", "items": plain(objects)}
    about = {"source": "", "name": ""}
    for text in (json.dumps(listed, indent=4), yaml.safe_dump(listed)):
        found = decouple("import", "kubernetes", "-", "--json", given=text)
        assert json.loads(found.stdout)["system"] | about == data | about


def test_a_list_of_the_api_and_bare_pods(tmp_path):
    items = client.V1DeploymentList(
        api_version="apps/v1", kind="DeploymentList",
        items=[deployment("a", replicas=2, image="a"), deployment("b", image="b")],
    )  # fmt: skip
    for one in items.items:
        one.kind = one.api_version = None  # as the API answers
    found = kubernetes([write(tmp_path / "l.yml", [items])]).data["services"]
    assert {name: one["workers"] for name, one in found.items()} == {"a": 2, "b": 1}

    def pod(name, kind, of, labels=None):
        ref = client.V1OwnerReference(api_version="v1", kind=kind, name=of, uid="u")
        about = named(name, labels=labels, owner_references=[ref])
        spec = client.V1PodSpec(containers=[client.V1Container(name="c", image=of)])
        return client.V1Pod(api_version="v1", kind="Pod", metadata=about, spec=spec)

    hashed = {"pod-template-hash": "5d4"}
    running = [pod(f"web-5d4-{n}", "ReplicaSet", "web-5d4", hashed) for n in range(3)]
    running += [pod("db-0", "StatefulSet", "db"), pod("j-1", "Job", "j")]
    found = kubernetes([write(tmp_path / "p.yml", running)]).data["services"]
    assert {name: one["workers"] for name, one in found.items()} == {"web": 3, "db": 1}
    whole = [*running, deployment("web", replicas=3, image="w")]
    found = kubernetes([write(tmp_path / "w.yml", whole)]).data["services"]
    assert {name: one["workers"] for name, one in found.items()} == {"web": 3, "db": 1}


def test_a_service_before_two_versions_is_said(tmp_path):
    def deployment(name, app, **env):
        variables = [{"name": key, "value": value} for key, value in env.items()]
        template = {"metadata": {"labels": {"app": app}},
                    "spec": {"containers": [{"name": "a", "image": "a", "env": variables}]}}  # fmt: skip
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {"template": template}}  # fmt: skip

    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "stock"},
               "spec": {"selector": {"app": "stock"}}}  # fmt: skip
    file = tmp_path / "all.yml"
    versions = [deployment(f"stock-v{number}", "stock") for number in (1, 2, 3)]
    web = deployment("web", "web", STOCK_URL="http://stock:80")
    file.write_text(yaml.safe_dump_all([service, web, *versions]))
    draft = kubernetes([str(file)])
    assert tree(draft.data["flows"]["web"]["root"]) == {"web": [{"stock-v1": []}]}
    assert draft.left_out == (
        "stock-v2 and stock-v3 from what the Service stock selects; here, calls to it go to stock-v1 "
        "alone",
    )


def test_names_that_are_there_twice_and_circles(tmp_path):
    objects = [
        deployment("all", "a", image="x", env=[("B_URL", "http://b.b")]),
        deployment("b", "b", image="x", env=[("C", "all.a:1"), ("D", "b.c.svc:1")]),
        deployment("b", "c", image="x"),
    ]
    data = kubernetes([write(tmp_path / "x.yml", objects)]).data
    assert list(data["services"]) == ["all", "b-b", "c-b"]
    assert list(data["flows"]) == ["all requests"]
    assert tree(data["flows"]["all requests"]["root"]) == {"all": [{"b-b": [{"c-b": []}]}]}
    filled(kubernetes([str(tmp_path / "x.yml")]))


def test_a_large_cluster(tmp_path):
    def env(number):
        return [(f"S{other}", f"s{other}:80") for other in range(number + 1, min(number + 30, 400))]

    objects = [deployment(f"s{number}", image="x", env=env(number)) for number in range(400)]
    path = write(tmp_path / "large.yml", objects)
    start = time.process_time()
    draft = kubernetes([path])
    assert time.process_time() - start < 20
    assert len(filled(draft).services) == 400


# --- Compose ----------------------------------------------------------------------------------------

COMPOSE = """
name: shop
x-base: &base
  restart: always
  labels: {com.example.team: checkout}
services:
  web:
    <<: *base
    image: nginx:${TAG:-1}
    ports: ["80:80"]
    depends_on: [api]
    env_file: web.env
  api:
    extends: {file: base.yml, service: common}
    environment: [DB=http://db:1, KAFKA_ADDR, "PASSWORD=SECRET"]
    deploy: {replicas: 3}
  stock:
    image: stock
    scale: 2
    networks: {depot: {aliases: [warehouse]}, default: {}}
    environment: {BROKER: rabbit, SELF: "http://stock:1"}
  db: {image: "postgres:16", deploy: {labels: {owner: data}}}
  kafka-1: {image: bitnami/kafka:3.7, depends_on: [zookeeper]}
  kafka-2: {image: bitnami/kafka:3.7, depends_on: [zookeeper]}
  rabbit: {image: rabbitmq}
  zookeeper: {image: zookeeper}
  migrate: {image: m}
  mail:
    image: mail
    depends_on:
      migrate: {condition: service_completed_successfully}
      api: {condition: service_started}
networks: {depot: {}, default: {}}
include: [other.yml]
"""


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in {
        "compose.yml": COMPOSE.replace("SECRET", SECRET),
        "base.yml": "services: {common: {image: api, labels: [team=orders]}}",
        "other.yml": "services: {agent: {image: agent, deploy: {mode: global}}}",
        "web.env": "STOCK_URL=http://${STOCK_HOST}:80\n# a comment\nOTHER='${NOT}'\n",
        ".env": "STOCK_HOST=warehouse\nKAFKA_ADDR=kafka-2:${PORT:-9092}\n",
    }.items():
        (folder / name).write_text(text)
    return folder


def merged(project):
    """What podman-compose makes of the project; it starts nothing for that."""
    words = [sys.executable, "-m", "podman_compose", "--dry-run", "-f", "compose.yml", "config"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True)
    return done.stdout


def test_compose(project):
    draft = compose(str(project / "compose.yml"))
    data = draft.data
    assert data["name"] == "shop"
    assert data["services"] == {
        "web": {"infrastructure": "shop", "team": "checkout", "workers": 1},
        "api": {"infrastructure": "shop", "team": "orders", "workers": 3},
        "stock": {"infrastructure": "shop", "workers": 2},
        "db": {"infrastructure": "shop", "team": "data", "workers": 1},
        "mail": {"infrastructure": "shop", "workers": 1},
        "agent": {"infrastructure": "shop", "workers": FILL_IN},
    }
    assert {key: "partitions" in one for key, one in data["brokers"].items()} == {
        "kafka-1": True, "rabbit": False
    }  # fmt: skip
    assert [tree(flow["root"]) for flow in data["flows"].values()] == [
        {"agent": []},
        {"web": [{"api": [{"db": []}]}, {"stock": []}]},
        {"mail": [{"api": [{"db": []}]}]},
    ]
    said = " ".join(draft.to_yaml().replace("#", "").split())
    assert SECRET not in said
    for words in ("Named by api (KAFKA_ADDR)", "Guessed from STOCK_URL", "Replicas: 3",
                  "Published on a port", "Named by stock (BROKER)"):  # fmt: skip
        assert words in said, words
    assert draft.left_out == (
        "migrate, which runs to an end",
        "kafka-2, another node of the broker kafka-1",
        "zookeeper, which only brokers name",
    )
    filled(draft)


def test_compose_as_podman_compose_merges_it(project, monkeypatch):
    mine = compose(str(project / "compose.yml")).data
    monkeypatch.chdir(project)
    found = decouple("import", "compose", "-", "--json", given=merged(project))
    assert found.exit_code == 0, found.output
    theirs = json.loads(found.stdout)["system"]
    for part in ("name", "services", "infrastructures", "network", "brokers"):
        assert theirs[part] == mine[part], part
    flows = [
        {name: tree(flow["root"]) for name, flow in one["flows"].items()} for one in (mine, theirs)
    ]
    assert {name: json.dumps(one, sort_keys=True) for name, one in flows[0].items()} == {
        name: json.dumps(one, sort_keys=True) for name, one in flows[1].items()
    }


def test_networks_that_nothing_joins_are_places(project):
    text = """services: {a: {image: x, networks: [n1]}, b: {image: x, networks: [n1, n2]},
                         c: {image: x, networks: [n3]}}"""
    (project / "compose.yml").write_text(text)
    data = compose(str(project / "compose.yml")).data
    assert [one["infrastructure"] for one in data["services"].values()] == ["n1", "n1", "n3"]
    assert data["name"] == "project"


# --- the rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("kafka", "kafka"), ("bitnami/kafka:3.7", "kafka"), ("r.io:5000/a/RabbitMQ@sha256:0", "rabbitmq"),
        ("docker.redpanda.com/redpandadata/redpanda:v1", "redpanda"), ("nats:2-alpine", "nats"),
    ],
)  # fmt: skip
def test_images_of_brokers(image, name):
    assert image_name(image) == name and name in PARTITIONED | QUEUES
    assert not {"kafka-ui", "cp-kafka-connect", "kafka-exporter", "redis"} & (PARTITIONED | QUEUES)


@pytest.mark.parametrize(
    ("labels", "team"),
    [
        ([{"app.kubernetes.io/part-of": "p", "owner": "o", "a/team": "t"}], "t"),
        ([{"b/team": "b", "team": "t"}], "t"),
        ([{"com.example.team": "c", "owner": "o"}], "c"),
        ([{"owner": "first"}, {"team": "later"}], "later"),
        ([{"app.kubernetes.io/part-of": "p"}], "p"),
        ([{"team": " \n "}, {"team": None}, {"steam": "no"}], ""),
        ([{"team": 7}], "7"),
    ],
)
def test_owners_in_order(labels, team):
    assert owner(*labels)[0] == team


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("X", "http://payment:8080/a/b", ["payment"]),
        ("X", "payment:8080", ["payment"]),
        ("X", "a:1,b:2;c:3", ["a", "b", "c"]),
        ("X", "payment", []),
        ("PAYMENT_HOST", "payment", ["payment"]),
        ("NODES", "a, b", ["a", "b"]),
        ("X", "jdbc:postgresql://db/x", ["db"]),
        ("X", "amqp://user:pass@rabbit", ["rabbit"]),
        ("X", "postgres://orders:123@db:5432", ["db"]),
        ("X", "host=db port=5432 user=web", ["db"]),
        ("X", "12:30 web api", ["12"]),
        ("MODE", "redis", []),
        ("SERVICE", "", []),
    ],
)
def test_hosts_that_a_variable_names(variable, value, found):
    assert list(hosts(variable, value)) == found


def test_hosts_of_long_values_take_no_time():
    start = time.process_time()
    for value in ("a:1," * 50_000, "a" * 500_000, "//" * 200_000, ",a:1" * 50_000 + ":"):
        list(hosts("URL", value))
    assert time.process_time() - start < 5


# --- bad input --------------------------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip
MERGES = "a: &a {x1: 1, x2: 2}\n" + "".join(
    f"b{n}: &b{n} {{<<: [*{'a' if not n else f'b{n - 1}'}], y{n}: 1}}\n" for n in range(3000)
)
LOOP = "services: &s {web: {image: x, labels: *s}}\n"
WORKLOAD = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}

BAD_COMPOSE = [
    ("", "the file is empty"),
    ("# only a comment", "the file is empty"),
    ("[1, 2]", "expected a Compose file"),
    ("a: 1\n---\nb: 2", "expected a Compose file"),
    ("services: {}", "no services were found"),
    ("services: [web]", "services: a list was found; expected a mapping"),
    ("services: {web: nginx}", "services.web: text was found; expected a mapping"),
    ("services: {web: {image: 3}}", "services.web.image: a number was found; expected text"),
    ("services: {web: {image: x, scale: -1}}", "services.web.scale: -1 was found; expected a whole number"),
    ("services: {web: {image: x, deploy: {replicas: two}}}", "services.web.deploy.replicas: 'two' was found"),
    ("services: {web: {image: x, scale: 1, deploy: {replicas: 2}}}", "another number than deploy.replicas"),
    ("services: {web: {image: x}, web: {image: y}}", "the key 'web' is there twice"),
    ("services: {web: {extends: {file: ../up.yml, service: a}}}", "'../up.yml' is outside the folder"),
    ("services: {web: {extends: {file: /etc/passwd, service: a}}}", "'/etc/passwd' is outside the folder"),
    ("services: {web: {extends: {file: link.yml, service: a}}}", "'link.yml' is outside the folder"),
    ("services: {web: {extends: {service: wbe}}}", "'wbe' is not a service"),
    ("services: {a: {extends: b}, b: {extends: a}}", "this extends itself"),
    ("include: [../up.yml]\nservices: {a: {image: x}}", "'../up.yml' is outside the folder"),
    ("include: [compose.yml]\nservices: {a: {image: x}}", "this includes itself"),
    ("include: [missing.yml]\nservices: {a: {image: x}}", "missing.yml: no such file"),
    ("services: {a: {image: !reset x}}", "the tag '!reset' is not known here"),
    ("services: {a: {image: x", "expected ',' or '}'"),
    ("\x00\x01\x02", "the character #x0000"),
    (BOMB, "more than 2,000,000 values were found, aliases followed"),
    (MERGES, "more than 2,000,000 values were merged"),
    (LOOP, "this contains itself"),
    (json.dumps(WORKLOAD), "use `decouple import kubernetes`"),
    ("services: {a: {<<: 3}}", "<< merges what is no mapping"),
    ("services: {a: {image: x, ports: !reset []}}", "import what `docker compose config` prints"),
    ("services: {a: {image: x, environment: {A: '" + "$X" * 9000 + "'}}}", "characters have to be looked at"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD_COMPOSE, ids=range(len(BAD_COMPOSE)))
def test_bad_compose_files(tmp_path, text, said):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "up.yml").write_text("services: {a: {image: x}}")
    (folder / "link.yml").symlink_to(tmp_path / "up.yml")
    (folder / ".env").write_text(f"X={'x' * 90_000}\n")
    (folder / "compose.yml").write_text(text)
    result = decouple("import", "compose", folder / "compose.yml")
    assert result.exit_code == 2 and result.stdout == ""
    assert said in result.stderr
    assert all(SENTENCE.fullmatch(line) for line in result.stderr.strip().split("\n")), (
        result.stderr
    )


def test_depends_on_of_a_service_that_is_not_there_is_said(tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text("services: {web: {image: x, depends_on: [ordres]}, orders: {image: x}}")
    said = "depends_on ordres of web: there is no such service"
    assert compose(str(file)).left_out == (said,)


def test_who_takes_telemetry_is_no_step_of_a_request(tmp_path):
    said = (
        "{OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317', OTEL_SERVICE_NAME: web, B: 'b:80'}"
    )
    file = tmp_path / "compose.yml"
    file.write_text(
        f"services: {{web: {{image: x, environment: {said}, depends_on: [collector]}}, b: {{image: x}},"
        " collector: {image: otel/opentelemetry-collector, depends_on: [b]}}"
    )
    draft = compose(str(file))
    assert tree(draft.data["flows"]["web"]["root"]) == {"web": [{"b": []}]}
    assert list(draft.data["flows"]) == ["web"]
    assert draft.left_out == ("collector, which takes telemetry",)
    assert draft.data["assumed"][1] == "who calls whom: guessed from environment variables"


def test_an_environment_file_elsewhere_is_said_and_not_read(tmp_path):
    (tmp_path / "secret.env").write_text("A=http://b:1\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    text = "services: {a: {image: x, env_file: ../secret.env}, b: {image: x}}"
    (inner / "compose.yml").write_text(text)
    draft = compose(str(inner / "compose.yml"))
    assert "is outside the folder" in draft.left_out[0]
    assert list(draft.data["flows"]) == ["a", "b"]


BAD_MANIFESTS = [
    ("", "the file is empty"),
    ("services: {web: {image: x}}", "use `decouple import compose`"),
    ("kind: Deployment\nmetadata: {}", "Deployment: metadata.name: nothing was found"),
    ("kind: [Deployment]", "no services were found"),
    ("kind: Frobnicator\nmetadata: {name: x}", "no services were found"),
    (yaml.safe_dump_all([WORKLOAD, WORKLOAD]), "expected it once; remove one"),
    (json.dumps({**WORKLOAD, "spec": {"replicas": "3"}}), "Deployment a: spec.replicas: '3' was found"),
    (json.dumps({**WORKLOAD, "spec": []}), "Deployment a: spec: a list was found; expected a mapping"),
    (json.dumps({**WORKLOAD, "spec": {"template": {"spec": {"containers": {}}}}}), "containers: a mapping was found"),
    ('{"kind": "Pod", "kind": "Pod"}', "the key 'kind' is there twice"),
    ('{"kind": "List", "items": [', "line 2, column 1: did not find"),
    ("kind: Deployment\nmetadata: {name: {{ .Values.name }}}", "render the templates first"),
    ("kind: Deployment\nmetadata: {name: a}\n  b: c", "line 3"),
    (BOMB + "kind: Pod", "more than 2,000,000 values were found, aliases followed"),
    ("kind: Pod\nmetadata: &m {name: a, labels: *m}", "this contains itself"),
    ("[" * 100_000, "levels inside each other"),
    ("{" * 100_000, "levels inside each other"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD_MANIFESTS, ids=range(len(BAD_MANIFESTS)))
def test_bad_manifests(tmp_path, text, said):
    (tmp_path / "a.yml").write_text(text)
    result = decouple("import", "kubernetes", tmp_path / "a.yml")
    assert result.exit_code == 2 and result.stdout == ""
    assert said in result.stderr
    assert all(SENTENCE.fullmatch(line) for line in result.stderr.strip().split("\n")), (
        result.stderr
    )


def test_unknown_kinds_are_said(tmp_path):
    other = [{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "k"}},
             {"apiVersion": "v1", "kind": "Frobnicator"}]  # fmt: skip
    (tmp_path / "a.yml").write_text(yaml.safe_dump_all([WORKLOAD, *other, *other]))
    result = decouple("import", "kubernetes", tmp_path / "a.yml")
    assert result.exit_code == 0
    for words in ("2 of kind Frobnicator", "2 of kind Service (serving.knative.dev)"):
        assert words in result.stderr and words in result.stdout


@pytest.mark.parametrize("command", ["compose", "kubernetes"])
def test_files_that_are_none(tmp_path, command):
    (tmp_path / "binary.yml").write_bytes(os.urandom(64) + b"\xff\xfe")
    (tmp_path / "empty").mkdir()
    for name in ("binary.yml", "missing.yml", "empty", "a\0b"):
        result = decouple("import", command, tmp_path / name)
        assert result.exit_code == 2 and len(result.stderr.strip().split("\n")) == 1, result.output
        assert SENTENCE.fullmatch(result.stderr.strip()), result.stderr
    with (tmp_path / "huge.yml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "more than 50,000,000 bytes" in decouple("import", command, tmp_path / "huge.yml").stderr


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_changed_manifests_make_a_system_or_sentences(tmp_path_factory, data):
    kube = data.draw(st.booleans())
    base = plain(cluster()) if kube else parse_all(COMPOSE.partition("include:")[0], "c")[0]
    base = copy.deepcopy(base)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(sorted(leaves(base), key=str)))
        path = path[: data.draw(st.integers(1, len(path)))]
        part = base
        for key in path[:-1]:
            part = part[key]
        change = data.draw(st.sampled_from(["set", "delete", "double"]))
        if change == "set":
            part[path[-1]] = data.draw(JUNK)
        elif change == "delete":
            del part[path[-1]]
        elif isinstance(part, list):
            part.append(part[path[-1]])
    folder = tmp_path_factory.mktemp("changed")
    file = folder / "a.yml"
    try:
        file.write_text(yaml.safe_dump_all(base) if kube else yaml.safe_dump(base))
    except (yaml.YAMLError, UnicodeError):
        return
    try:
        draft = kubernetes([str(file)]) if kube else compose(str(file))
    except InvalidSystem as error:
        assert all(SENTENCE.fullmatch(line) for line in str(error).split("\n")), error
        return
    assert parse(draft.to_yaml()) == draft.data
    filled(draft)


if find_spec("atheris"):  # it has wheels for Linux on x86-64 alone

    def test_a_fuzzer_finds_nothing(tmp_path):
        corpus = {
            "compose": COMPOSE.encode(),
            "cluster": yaml.safe_dump_all(plain(cluster())).encode(),
        }
        fuzz("manifests", corpus, tmp_path, 5, 50, "-timeout=60")
