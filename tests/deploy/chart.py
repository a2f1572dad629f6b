"""The Helm chart: linted, rendered, held to the sidecar of the kustomize component, and broken on purpose."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import helm_python
import yaml

import cases
import kubernetes

NAME = "innopaas-proxy"
CHART = f"deploy/helm/{NAME}"
CONSUMER = "tests/deploy/fixtures/consumer"
BINARY = str(cases.BINARY)

RECEIVER = {"receiver": {
    "enabled": True,
    "applications": [{"app": "shop", "secretName": "innopaas-webhook"}],
    "config": {"webhook": {"default": "http://shop.default.svc/innopaas"}},
}}
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
EVERYTHING = {
    "image": {"repository": "registry.example:5000/innopaas-proxy", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
    "receiver": {
        "enabled": True,
        "fullnameOverride": "hooks",
        "replicas": 3,
        "applications": [
            {"app": "shop", "secretName": "innopaas-webhook", "previousSecretName": "innopaas-webhook-previous"},
            {"app": "club", "secretName": "innopaas-webhook-club"},
        ],
        "config": {
            "webhook": {
                "routes": [{"app": "club", "type": "sms_status", "to": "http://club.default.svc/innopaas"}],
                "default": "http://shop.default.svc/innopaas",
                "duplicates": {"window": "10m", "entries": 1000000},
            },
            "drain": {"minimum": "10s", "maximum": "40s"},
            "log": {"level": "debug"},
        },
        "tls": {"secretName": "hooks-tls"},
        "service": {"type": "NodePort", "port": 443, "annotations": {"a.example/b": "c"}},
        "ingress": {
            "enabled": True, "className": "nginx", "host": "hooks.example.com", "path": "/innopaas",
            "annotations": {"a.example/b": "c"}, "tls": {"secretName": "hooks-example-com"},
        },
        "networkPolicy": {
            "enabled": True, "webhooksFrom": [PEER], "metricsFrom": [PEER],
            "applications": [{"port": 8080, "to": [{"podSelector": {"matchLabels": {"app": "shop"}}}]}],
        },
        "podMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}},
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "terminationGracePeriodSeconds": 45,
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"a.example/b": "c"},
        "podLabels": {"team": "messaging"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
}
SIDECAR = {
    "standbySecretName": "innopaas-standby",
    "webhook": {"enabled": True, "to": "http://127.0.0.1:8080/innopaas"},
    "config": {
        "refusal": {"hold": "60s", "statuses": [401, "403 /api/otp/**"], "codes": ["101"], "replay": True},
        "limits": {"connections": 1000000},
        "webhook": {"routes": [{"type": "sms_status", "to": "http://127.0.0.1:8080/sms"},
                               {"type": "sms_uplink", "to": "http://127.0.0.1:8080/uplink"}]},
        "upstream": {"ca_file": None},
    },
    "resources": {"limits": {"memory": "256Gi"}},
    "extraVolumes": [{"name": "fingerprint", "secret": {"secretName": "fingerprint"}}],
    "extraVolumeMounts": [{"name": "fingerprint", "mountPath": "/var/run/secrets/fingerprint", "readOnly": True}],
}


# ---- How it is rendered


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping: YAML forbids it, and the API server takes the last."""


def mapping(loader, node):
    """A mapping whose keys are different ones."""
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"a key stands twice: {sorted(keys)}"
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def parse(text):
    """The objects in a text."""
    return [each for each in yaml.load_all(text, Loader) if each is not None]


def rendered(directory, values=None, name="shop"):
    """The objects, and the notes."""
    with helm_python.Chart.load(directory) as chart:
        files = chart.render(values or {}, name=name, namespace="default")
    notes = [text for path, text in files.items() if path == f"{directory.name}/templates/NOTES.txt"]
    return [each for path, text in files.items() if not path.endswith("NOTES.txt") for each in parse(text)], "".join(notes).strip()


def receiver(tree, values):
    """The receiver's objects by kind."""
    objects, _ = rendered(tree / CHART, values)
    return {each["kind"]: each for each in objects}


def vendored(tree):
    """The consumer with its dependency in charts/, as `helm dependency update` puts it there."""
    consumer = tree / CONSUMER
    if not (consumer / "charts").exists():
        helm_python.dependency_update(consumer, skip_refresh=True)
    return consumer


def consumer(tree, values=None):
    """The consumer's pod template."""
    objects, _ = rendered(vendored(tree), {NAME: values or {}})
    assert [each["kind"] for each in objects] == ["Deployment"], objects
    return objects[0]["spec"]["template"]


def sidecar(pod):
    """The proxy's container among the init containers."""
    return pod["spec"]["initContainers"][0]


def environment(container):
    """Its env as a mapping."""
    return {entry["name"]: entry["value"] for entry in container["env"]}


def equal(got, expected):
    """Says where two structures differ."""
    assert got == expected, f"\n got      {json.dumps(got, sort_keys=True)}\n expected {json.dumps(expected, sort_keys=True)}"


# ---- The chart by itself


def lint(tree):
    """No finding, not even a hint, but that there is no icon."""
    for values in ({}, RECEIVER, EVERYTHING):
        report = helm_python.lint(tree / CHART, values, strict=True, kube_version="v1.33.0")
        findings = [message for message in report["messages"] if "icon is recommended" not in message["error"]]
        assert not findings and not report["errors"], report
        assert report["total_charts_linted"] == 1, report


def nothing(tree):
    """An installed chart with neither makes no object, and tells what it is for."""
    objects, notes = rendered(tree / CHART)
    equal(objects, [])
    for word in ("installed nothing by itself", "innopaas-proxy.sidecar", "receiver.enabled"):
        assert word in notes, notes


def versions(tree):
    """The tag of the image is the version of the program."""
    meta = yaml.safe_load((tree / CHART / "Chart.yaml").read_text())
    program = re.search(r'^version = "(.*)"$', (cases.ROOT / "Cargo.toml").read_text(), re.M)[1]
    equal(meta["appVersion"], program)


def explained(tree):
    """Every value has its sentence, and its place in the schema; the schema knows no other."""
    lines = (tree / CHART / "values.yaml").read_text().splitlines()
    depth = lambda line: len(line) - len(line.lstrip())
    within = 99
    for before, line, after in zip([""] + lines, lines, lines[1:] + [""]):
        if not re.match(r" *[A-Za-z]+:", line) or depth(line) > within:
            continue
        within = 99
        section = depth(after) > depth(line) and not after.strip().startswith("-")
        told = before.strip().startswith("#")
        assert told or section, f"no sentence for {line.strip()}"
        if told and line.strip() in ("resources:", "dns:"):
            within = depth(line)
    schema = json.loads((tree / CHART / "values.schema.json").read_text())
    same(yaml.safe_load("\n".join(lines)), schema, "")


def same(values, schema, where):
    """The schema has the values' keys."""
    known = set(schema["properties"]) - ({"global"} if not where else set())
    assert known == set(values), f"{where or 'values'}: schema {sorted(known)}, values {sorted(values)}"
    assert schema["additionalProperties"] is False, where
    for key, value in values.items():
        if isinstance(value, dict) and "properties" in schema["properties"][key]:
            same(value, schema["properties"][key], f"{where}.{key}")


def settings(tree):
    """The schema's `config` has the settings of proxy.yaml.example."""
    example = yaml.safe_load((cases.ROOT / "proxy.yaml.example").read_text())
    schema = json.loads((tree / CHART / "values.schema.json").read_text())

    def keys(node):
        return {key: keys(value) for key, value in node.items()} if isinstance(node, dict) else None

    def properties(node):
        return {key: properties(value) for key, value in node["properties"].items()} if "properties" in node else None

    equal(properties(schema["definitions"]["config"]), keys(example))


# ---- The sidecar


def component(tree):
    """What the consumer gets by default is what the kustomize component adds."""
    patch = yaml.safe_load((cases.DEPLOY / "kubernetes/sidecar/sidecar.yaml").read_text())["spec"]["template"]
    url = yaml.safe_load((cases.DEPLOY / "kubernetes/sidecar/base-url/base-url.yaml").read_text())["data"]
    pod = consumer(tree)
    equal(pod["spec"]["initContainers"], patch["spec"]["initContainers"])
    equal(pod["spec"]["volumes"], patch["spec"]["volumes"])
    equal({key: pod["metadata"]["labels"][key] for key in patch["metadata"]["labels"]}, patch["metadata"]["labels"])
    settings_of_pod = {key: value for key, value in patch["spec"].items() if key not in ("initContainers", "volumes")}
    assert settings_of_pod, "nothing to compare"
    equal({key: pod["spec"].get(key) for key in settings_of_pod}, settings_of_pod)
    equal(environment(pod["spec"]["containers"][0]), url)
    # And nothing else came into the pod but what the consumer wrote itself.
    own = yaml.safe_load(re.sub(r"^.*\{\{-.*\n", "", (tree / CONSUMER / "templates/deployment.yaml").read_text(), flags=re.M)
                         .replace("{{ .Values.image.tag }}", "1.0.0"))["spec"]["template"]
    own["metadata"]["labels"].update(patch["metadata"]["labels"])
    own["spec"].update(patch["spec"])
    own["spec"]["containers"][0]["env"] = [{"name": key, "value": value} for key, value in url.items()]
    equal(pod, own)


def overlays(tree):
    """With a webhook or a standby, it is what the kustomize overlays of these names have."""
    for overlay, values in (("standby", {"standbySecretName": "innopaas-standby"}),
                            ("webhook", {"webhook": {"enabled": True, "app": "shop", "to": "http://127.0.0.1:8080/innopaas"}})):
        objects = kubernetes.render(cases.DEPLOY / "kubernetes/overlays" / overlay)
        theirs = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]
        ours = consumer(tree, {"sidecar": values})
        equal(ordered(sidecar(ours)), ordered(sidecar(theirs)))
        equal(by_name(ours["spec"]["volumes"]), by_name(theirs["spec"]["volumes"]))


def ordered(container):
    """The container with what has names in one order."""
    return {key: by_name(value) if key in ("env", "ports", "volumeMounts") else value for key, value in container.items()}


def by_name(entries):
    """Entries in the order of their names."""
    return sorted(entries, key=lambda entry: entry["name"])


def options(tree):
    """Every value of the sidecar arrives where it should."""
    pod = consumer(tree, {"image": {"repository": "registry.example/p", "tag": "0.1.1", "pullPolicy": "Always"},
                          "runAsUser": None, "sidecar": {**SIDECAR, "secretName": "other", "terminationGracePeriodSeconds": 90}})
    proxy = sidecar(pod)
    equal(proxy["image"], "registry.example/p:0.1.1")
    equal(proxy["imagePullPolicy"], "Always")
    equal([key for key in proxy["securityContext"] if key.startswith("runAs")], ["runAsNonRoot"])
    equal(pod["spec"]["terminationGracePeriodSeconds"], 90)
    equal([port["containerPort"] for port in proxy["ports"]], [7255, 7254])
    mounts = {mount["name"]: mount["mountPath"] for mount in proxy["volumeMounts"]}
    equal(mounts, {"innopaas": "/var/run/secrets/innopaas", "innopaas-standby": "/var/run/secrets/innopaas-standby",
                   "innopaas-webhook": "/var/run/secrets/innopaas-webhook",
                   "innopaas-webhook-previous": "/var/run/secrets/innopaas-webhook-previous",
                   "fingerprint": "/var/run/secrets/fingerprint"})
    assert all(mount["readOnly"] is True and "subPath" not in mount for mount in proxy["volumeMounts"])
    volumes = {volume["name"]: volume["secret"] for volume in pod["spec"]["volumes"]}
    equal(volumes, {"innopaas": {"secretName": "other"}, "innopaas-standby": {"secretName": "innopaas-standby"},
                    "innopaas-webhook": {"secretName": "innopaas-webhook"},
                    "innopaas-webhook-previous": {"secretName": "innopaas-webhook-previous", "optional": True},
                    "fingerprint": {"secretName": "fingerprint"}})
    equal(environment(proxy), {
        "INNOPAAS_PROXY_ADMIN__ADDRESS": "0.0.0.0:7255",
        "INNOPAAS_PROXY_CREDENTIALS__STANDBY__DIRECTORY": "/var/run/secrets/innopaas-standby",
        "INNOPAAS_PROXY_LIMITS__CONNECTIONS": "1000000",
        "INNOPAAS_PROXY_REFUSAL__CODES": "101",
        "INNOPAAS_PROXY_REFUSAL__HOLD": "60s",
        "INNOPAAS_PROXY_REFUSAL__REPLAY": "true",
        "INNOPAAS_PROXY_REFUSAL__STATUSES": "401,403 /api/otp/**",
        "INNOPAAS_PROXY_WEBHOOK__CONNECTIONS": "50",
        "INNOPAAS_PROXY_WEBHOOK__CREDENTIALS": "app=shop current=/var/run/secrets/innopaas-webhook "
                                               "previous=/var/run/secrets/innopaas-webhook-previous",
        "INNOPAAS_PROXY_WEBHOOK__DEFAULT": "http://127.0.0.1:8080/innopaas",
        "INNOPAAS_PROXY_WEBHOOK__LISTEN": "0.0.0.0:7254",
        "INNOPAAS_PROXY_WEBHOOK__ROUTES": "to=http://127.0.0.1:8080/sms type=sms_status,"
                                          "to=http://127.0.0.1:8080/uplink type=sms_uplink",
    })
    equal(environment(sidecar(consumer(tree, {"sidecar": {"config": {"admin": {"address": "[::]:7255"}}}}))),
          {"INNOPAAS_PROXY_ADMIN__ADDRESS": "[::]:7255", "INNOPAAS_PROXY_LIMITS__CONNECTIONS": "200"})
    # A heading with nothing under it, as it is when everything there is a comment.
    equal(consumer(tree, {"sidecar": {"config": None}}), consumer(tree))
    moved = consumer(tree, {"sidecar": {"config": {"listen": {"address": "127.0.0.1:9000"}}}})
    equal(environment(moved["spec"]["containers"][0]), {"INNOPAAS_BASE_URL": "http://127.0.0.1:9000"})


def aliases(tree):
    """With an alias each, two workloads have their own values; without its context, a word on what to do."""
    with tempfile.TemporaryDirectory() as directory:
        chart = pathlib.Path(directory) / "shop"
        shutil.copytree(vendored(tree), chart)
        meta = yaml.safe_load((chart / "Chart.yaml").read_text())
        meta["dependencies"] = [{**meta["dependencies"][0], "alias": alias} for alias in ("web", "worker")]
        (chart / "Chart.yaml").write_text(yaml.safe_dump(meta))
        (chart / "Chart.lock").unlink()
        template = chart / "templates/deployment.yaml"
        text = template.read_text()
        refused(lambda: rendered(chart), "has no dependency of that name")
        for alias in ("web", "worker"):
            context = re.sub(r'(include "innopaas-proxy\.\w+") \.', rf'\1 (index .Subcharts "{alias}")', text)
            assert context.count(".Subcharts") == 5, context
            (chart / f"templates/{alias}.yaml").write_text(context)
        template.unlink()
        objects, _ = rendered(chart, {"worker": {"sidecar": {"secretName": "worker"}}})
        names = [each["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] for each in objects]
        equal(sorted(names), ["innopaas", "worker"])
        equal({sidecar(each["spec"]["template"])["image"] for each in objects}, {"innopaas-proxy:0.1.0"})


def within(tree):
    """The chart can include its own templates: as the root, its context is the scope."""
    with tempfile.TemporaryDirectory() as directory:
        chart = pathlib.Path(directory) / NAME
        shutil.copytree(tree / CHART, chart)
        pod = (tree / CONSUMER / "templates/deployment.yaml").read_text().replace("{{ .Values.image.tag }}", "1.0.0")
        (chart / "templates/own.yaml").write_text(pod)
        objects, _ = rendered(chart)
        equal(objects[0]["spec"]["template"], consumer(tree))


def both(tree):
    """A release with sidecars and a receiver has both."""
    objects, notes = rendered(vendored(tree), {NAME: RECEIVER, "global": {"anything": 1}})
    equal(sorted(each["kind"] for each in objects),
          ["ConfigMap", "Deployment", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"])
    equal(notes, "")


def sidecar_settings(tree):
    """The program takes the container's environment, and takes it as it was meant."""
    pod = consumer(tree, {"sidecar": SIDECAR})
    with files() as root:
        env = {name: value.replace("/var/run/secrets", root) for name, value in environment(sidecar(pod)).items()}
        found, warnings = checked([], env)
    equal(warnings, "")
    equal(found["refusal"]["hold"], "60s")
    equal(found["refusal"]["statuses"], [401, "403 /api/otp/**"])
    equal(found["refusal"]["replay"], True)
    equal(found["limits"]["connections"], 1000000)
    equal(found["webhook"]["routes"], SIDECAR["config"]["webhook"]["routes"])
    equal(found["webhook"]["credentials"], [{"app": "shop", "current": f"{root}/innopaas-webhook",
                                             "previous": f"{root}/innopaas-webhook-previous"}])
    equal(found["credentials"]["standby"]["directory"], f"{root}/innopaas-standby")


# ---- The receiver


def objects_of_receiver(tree):
    """With the least that it needs, five objects that belong together."""
    kinds = receiver(tree, RECEIVER)
    equal(sorted(kinds), ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"])
    equal({each["metadata"]["name"] for each in kinds.values()}, {"shop-innopaas-proxy"})
    equal({each["metadata"]["labels"][NAME] for each in kinds.values()}, {"off"})
    together(kinds)
    equal(kinds["Deployment"]["spec"]["replicas"], 2)
    pod = kinds["Deployment"]["spec"]["template"]
    equal([pod["spec"]["automountServiceAccountToken"], kinds["ServiceAccount"]["automountServiceAccountToken"]], [False, False])
    equal(pod["spec"]["containers"][0]["image"], "innopaas-proxy:0.1.0")


def together(kinds):
    """Selectors, ports, names and mounts of the objects fit each other."""
    deployment = kinds["Deployment"]["spec"]
    pod, container = deployment["template"], deployment["template"]["spec"]["containers"][0]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    equal(kinds["Service"]["spec"]["selector"], selector)
    equal(kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], selector)
    for kind, path in (("NetworkPolicy", "podSelector"), ("PodMonitor", "selector")):
        if kind in kinds:
            equal(kinds[kind]["spec"][path]["matchLabels"], selector)
    numbers = [port["containerPort"] for port in container["ports"]]
    equal(sorted(numbers), [7254, 7255])
    equal(kinds["Service"]["spec"]["ports"][0]["targetPort"], 7254)
    if "PodMonitor" in kinds:
        named = {port["name"]: port["containerPort"] for port in container["ports"]}
        equal(named[kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"]], 7255)
    if "Ingress" in kinds:
        backend = kinds["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        equal(backend["name"], kinds["Service"]["metadata"]["name"])
        equal(backend["port"]["number"], kinds["Service"]["spec"]["ports"][0]["port"])
    equal(pod["spec"]["serviceAccountName"], kinds["ServiceAccount"]["metadata"]["name"])
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    equal(sorted(volumes), sorted(mounts))
    equal(volumes["config"]["configMap"]["name"], kinds["ConfigMap"]["metadata"]["name"])
    equal(environment(container)["INNOPAAS_PROXY_CONFIG"], mounts["config"] + "/proxy.yaml")
    config = yaml.safe_load(kinds["ConfigMap"]["data"]["proxy.yaml"])
    wanted = [path for entry in config["webhook"].get("credentials", []) for key, path in entry.items() if key != "app"]
    wanted += [str(pathlib.Path(path).parent) for path in config["webhook"].get("tls", {}).values()]
    equal(sorted(set(wanted)), sorted(path for name, path in mounts.items() if name != "config"))
    maximum = int(config["drain"].get("maximum", "25s").removesuffix("s"))
    assert maximum < pod["spec"]["terminationGracePeriodSeconds"]


def restricted(tree):
    """The receiver's container has what the sidecar's has: probes and the restricted profile."""
    for values in (RECEIVER, EVERYTHING):
        container = receiver(tree, values)["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        twin = sidecar(consumer(tree))
        for key in ("args", "securityContext", "startupProbe", "readinessProbe", "livenessProbe"):
            equal(container[key], twin[key])
    security = receiver(tree, RECEIVER)["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    equal(security, {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}})


def everything(tree):
    """Every option arrives."""
    kinds = receiver(tree, EVERYTHING)
    equal(sorted(kinds), ["ConfigMap", "Deployment", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor",
                          "Service", "ServiceAccount"])
    equal({each["metadata"]["name"] for each in kinds.values()}, {"hooks"})
    together(kinds)
    wanted, pod = EVERYTHING["receiver"], kinds["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    equal(kinds["Deployment"]["spec"]["replicas"], 3)
    equal(container["image"], "registry.example:5000/innopaas-proxy@sha256:" + "0" * 64)
    equal(container["imagePullPolicy"], "Always")
    for key in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "terminationGracePeriodSeconds"):
        equal(pod["spec"][key], wanted[key])
    equal(container["resources"], wanted["resources"])
    equal(pod["metadata"]["labels"]["team"], "messaging")
    equal(pod["metadata"]["annotations"]["a.example/b"], "c")
    optional = [volume["name"] for volume in pod["spec"]["volumes"] if volume.get("secret", {}).get("optional")]
    equal(optional, ["webhook-0-previous"])
    port = kinds["Service"]["spec"]["ports"][0]
    equal([kinds["Service"]["spec"]["type"], port["name"], port["appProtocol"], port["port"]], ["NodePort", "https", "https", 443])
    ingress = kinds["Ingress"]["spec"]
    equal(ingress["ingressClassName"], "nginx")
    equal(ingress["tls"], [{"hosts": ["hooks.example.com"], "secretName": "hooks-example-com"}])
    equal([ingress["rules"][0]["host"], ingress["rules"][0]["http"]["paths"][0]["path"]], ["hooks.example.com", "/innopaas"])
    for kind, annotations in (("Service", wanted["service"]), ("Ingress", wanted["ingress"])):
        equal(kinds[kind]["metadata"]["annotations"], annotations["annotations"])
    policy = kinds["NetworkPolicy"]["spec"]
    equal(policy["policyTypes"], ["Ingress", "Egress"])
    equal([(rule["ports"][0]["port"], rule["from"]) for rule in policy["ingress"]], [(7254, [PEER]), (7255, [PEER])])
    equal([rule["ports"][0]["port"] for rule in policy["egress"]], [53, 8080])
    assert all(rule["to"] for rule in policy["egress"]), "egress to everywhere"
    equal(kinds["PodMonitor"]["metadata"]["labels"]["release"], "prometheus")
    equal(kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["interval"], "10s")


def rolls(tree):
    """A changed setting makes new pods, and nothing else does."""
    def checksum(values):
        return receiver(tree, values)["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    def with_config(**more):
        return {"receiver": {**RECEIVER["receiver"], "config": {**RECEIVER["receiver"]["config"], **more}}}

    assert checksum(RECEIVER) != checksum(with_config(log={"level": "debug"}))
    equal(checksum(RECEIVER), checksum({"receiver": {**RECEIVER["receiver"], "replicas": 5}}))


def taken(tree):
    """The program takes each proxy.yaml, without a warning, and has what was set."""
    open_one = {"enabled": True, "config": {"webhook": {"verify": "none", "default": "http://shop.default.svc/"}}, "applications": []}
    for values in (RECEIVER, EVERYTHING, {"receiver": open_one}):
        config = receiver(tree, values)["ConfigMap"]["data"]["proxy.yaml"]
        with files() as root:
            found, warnings = checked_file(config, root)
        equal(warnings, "")
        for section, own in values["receiver"]["config"].items():
            for key, value in own.items():
                if isinstance(value, dict):
                    assert value.items() <= found[section][key].items(), found[section][key]
                else:
                    equal(found[section][key], value)
        equal([entry["app"] for entry in found["webhook"]["credentials"]],
              [entry["app"] for entry in values["receiver"]["applications"]])
        equal(found["admin"], {"address": "0.0.0.0:7255", "ready_without_credentials": True})


def serves(tree):
    """The receiver becomes ready without a pair to send with, and refuses an event without the values."""
    kinds = receiver(tree, RECEIVER)
    config = kinds["ConfigMap"]["data"]["proxy.yaml"]
    listen, hook, admin = free(3)
    for address, port in (("0.0.0.0:7254", hook), ("0.0.0.0:7255", admin)):
        assert config.count(address) == 1, config
        config = config.replace(address, f"0.0.0.0:{port}")
    with files() as root:
        path = pathlib.Path(root) / "proxy.yaml"
        path.write_text(config.replace("/var/run/secrets", root))
        env = {**environment(kinds["Deployment"]["spec"]["template"]["spec"]["containers"][0]),
               "INNOPAAS_PROXY_CONFIG": str(path), "INNOPAAS_PROXY_LISTEN__ADDRESS": f"127.0.0.1:{listen}",
               "INNOPAAS_PROXY_CREDENTIALS__DIRECTORY": f"{root}/none"}
        with open(f"{root}/log", "w") as log, subprocess.Popen([BINARY, "run"], env=env, stderr=log) as process:
            try:
                equal(eventually_200(f"http://127.0.0.1:{admin}/readyz", process), 200)
                equal(asked(f"http://127.0.0.1:{hook}/", b"{}"), 401)
                # The first command of the notes.
                health = subprocess.run([BINARY, "health", "readyz"], env=env, capture_output=True, text=True, timeout=20)
                equal(health.returncode, 0)
                assert health.stdout.startswith("ok"), health.stdout
            except AssertionError as error:
                raise AssertionError(f"{error}: {pathlib.Path(root, 'log').read_text()[-600:]}") from error
            finally:
                process.kill()


def notes(tree):
    """Two commands, with the names and the address of this release."""
    _, text = rendered(tree / CHART, RECEIVER)
    commands = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    equal(commands[0], "kubectl -n default exec deployment/shop-innopaas-proxy -- /innopaas-proxy health readyz")
    assert "port-forward service/shop-innopaas-proxy 7254:80" in commands[1] and len(commands) == 2, commands
    _, text = rendered(tree / CHART, EVERYTHING)
    commands = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    equal(commands[1:], ["curl -i -d '{}' https://hooks.example.com/innopaas"])
    assert "everybody" not in text
    _, text = rendered(tree / CHART, patched("receiver.config.webhook.verify", "none", patched("receiver.applications", [], RECEIVER)))
    assert "everybody who reaches the receiver is let in" in text, text


# ---- Both


def valid(tree):
    """Every object is one for the API of each version, and they fit each other."""
    # The files of a certificate are not laid out by `check`; `taken` tries them.
    clear = patched("receiver.tls.secretName", "", EVERYTHING)
    count = 0
    for values in (RECEIVER, EVERYTHING, clear):
        objects = list(receiver(tree, values).values())
        problems = kubernetes.validate(objects)
        if values is not EVERYTHING:
            problems += kubernetes.check(objects)
        assert not problems, problems
        count += len(objects)
    for values in ({}, SIDECAR):
        objects, _ = rendered(vendored(tree), {NAME: {"sidecar": values}})
        problems = kubernetes.validate(objects) + kubernetes.check(objects)
        assert not problems, problems
        count += len(objects)
    return f"{count} objects, {len(kubernetes.VERSIONS)} versions"


def patched(path, value, base):
    """A copy of the values with one of them replaced."""
    values = json.loads(json.dumps(base))
    node = values
    keys = path.split(".")
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = value
    return values


def refused(render, *words):
    """Rendering ends with an error that has the words."""
    try:
        render()
    except helm_python.HelmError as error:
        for word in words:
            assert word in str(error), f"no word about {word}: {error}"
        return
    raise AssertionError("was rendered")


WRONG = [
    # What the schema refuses: the place is named.
    ("imagee", {}, "imagee"),
    ("image.name", "x", "name"),
    ("image.repository", "Not A Name", "/image/repository"),
    ("image.tag", 0.1, "/image/tag"),
    ("image.tag", "a b", "/image/tag"),
    ("image.digest", "sha256:abc", "/image/digest"),
    ("image.pullPolicy", "Sometimes", "/image/pullPolicy"),
    ("image", None, "missing property 'image'"),
    ("receiver.ingress", None, "missing property 'ingress'"),
    ("runAsUser", 0, "/runAsUser"),
    ("runAsUser", "nobody", "/runAsUser"),
    ("receiver.enabled", "yes", "/receiver/enabled"),
    ("receiver.replicas", 0, "/receiver/replicas"),
    ("receiver.replicas", "2", "/receiver/replicas"),
    ("receiver.fullnameOverride", "Has_Bad_Letters", "/receiver/fullnameOverride"),
    ("receiver.applications", [{"app": "shop"}], "secretName"),
    ("receiver.applications", [{"app": "a b", "secretName": "x"}], "/receiver/applications/0/app"),
    ("receiver.applications", [{"app": "shop", "secretName": "UPPER"}], "/receiver/applications/0/secretName"),
    ("receiver.applications", [{"app": "shop", "secretName": "x", "authorization": "secret"}], "authorization"),
    ("receiver.config.credentials.authorization", "a-secret", "authorization"),
    ("receiver.config.webhok", {}, "webhok"),
    ("receiver.config.webhook.default", "https://shop/", "/receiver/config/webhook/default"),
    ("receiver.config.webhook.routes", [{"to": "shop:80"}], "/receiver/config/webhook/routes/0/to"),
    ("receiver.config.webhook.routes", [{"type": "sms_status"}], "/receiver/config/webhook/routes/0"),
    ("receiver.service.type", "ExternalName", "/receiver/service/type"),
    ("receiver.service.port", 70000, "/receiver/service/port"),
    ("receiver.service.annotations", {"a": 1}, "/receiver/service/annotations/a"),
    ("receiver.ingress.host", "https://hooks.example.com", "/receiver/ingress/host"),
    ("receiver.ingress.path", "innopaas", "/receiver/ingress/path"),
    ("receiver.networkPolicy.webhooksFrom", [{"pods": {}}], "/receiver/networkPolicy/webhooksFrom/0"),
    ("receiver.networkPolicy.dns", [], "/receiver/networkPolicy/dns"),
    ("receiver.podMonitor.interval", "often", "/receiver/podMonitor/interval"),
    ("receiver.podLabels", {"app.kubernetes.io/name": "x"}, "invalid propertyName"),
    ("receiver.podLabels", {"innopaas-proxy": "sidecar"}, "invalid propertyName"),
    ("receiver.podAnnotations", {"checksum/config": "x"}, "invalid propertyName"),
    ("receiver.resources", {"limit": {}}, "/receiver/resources"),
    ("receiver.terminationGracePeriodSeconds", "30", "/receiver/terminationGracePeriodSeconds"),
    ("sidecar.secretName", "", "/sidecar/secretName"),
    ("sidecar.authorization", "a-secret", "authorization"),
    ("sidecar.config.limits.conections", 5, "conections"),
    ("sidecar.config.limits", 5, "/sidecar/config/limits"),
    ("sidecar.webhook.to", "127.0.0.1:8080", "/sidecar/webhook/to"),
    ("sidecar.webhook.app", "a b", "/sidecar/webhook/app"),
    ("sidecar.extraVolumeMounts", [{"name": "x", "mountPath": "/x", "subPath": "y"}], "subPath"),
    # What fits the schema and yet not together: what to do is told.
    ("receiver.applications", [], "Such as: [{ app: shop, secretName: innopaas-webhook }]"),
    ("receiver.applications", [{"app": "a", "secretName": "x"}, {"app": "a", "secretName": "y"}], "previousSecretName of the one entry"),
    ("receiver.applications", [{"app": "a", "secretName": "x", "previousSecretName": "x"}], "need a Secret of their own"),
    ("receiver.config", {}, "Such as: default: http://"),
    ("receiver.config", None, "Such as: default: http://"),
    ("receiver.config.webhook.credentials", [{"app": "a", "current": "/x"}], "in receiver.applications"),
    ("receiver.config.webhook.verify", "none", "Take one of the two out"),
    ("receiver.config.webhook.tls.key_file", "/x", "receiver.tls.secretName"),
    ("receiver.config.webhook.listen", "127.0.0.1:7254", "Take this out"),
    ("receiver.config.admin.address", "127.0.0.1:7255", "Take this out"),
    ("receiver.config.drain.maximum", "30s", "Make it longer than 30 s"),
    ("receiver.config.drain.maximum", "1m", "Make it longer than 60 s"),
    ("receiver.config.drain.maximum", 30, "must be a whole number with ms, s, m or h"),
    ("receiver.ingress", {"enabled": True}, "such as webhooks.example.com"),
    ("receiver.networkPolicy", {"enabled": True}, "no webhook would arrive. Such as:"),
    ("receiver.networkPolicy", {"enabled": True, "webhooksFrom": [PEER]}, "no event could be handed over. Such as:"),
]
WRONG_SIDECAR = [
    ("webhook.enabled", True, "Such as: http://127.0.0.1:8080/innopaas"),
    ("webhook", {"enabled": True, "to": "http://127.0.0.1/", "previousSecretName": "innopaas-webhook"}, "Name another one"),
    ("", {"webhook": {"enabled": True, "to": "http://127.0.0.1/"}, "config": {"webhook": {"verify": "none"}}}, "Take this out"),
    ("standbySecretName", "innopaas", "in a Secret of its own"),
    ("config.admin.address", "127.0.0.1:7255", "Take this out"),
    ("config.credentials.directory", "/elsewhere", "sidecar.secretName"),
    ("config.credentials.standby.directory", "/elsewhere", "sidecar.standbySecretName"),
    ("config.webhook.credentials", [{"app": "a", "current": "/x"}], "sidecar.webhook.enabled"),
    ("config.listen.address", "unix:/run/innopaas/proxy.sock", "Leave this include out"),
    ("config.drain.maximum", "60s", "Make it longer than 60 s"),
    ("terminationGracePeriodSeconds", 25, "Make it longer than 25 s"),
    ("secretname", "x", "secretname"),
    ("secretName", None, "missing property 'secretName'"),
    ("webhook", None, "missing property 'webhook'"),
]


def wrong(tree):
    """Each wrong value is refused, and the refusal says where, or what to do."""
    rendered(tree / CHART, RECEIVER)
    for path, value, word in WRONG:
        told(path, value, lambda p, v, w: refused(lambda: rendered(tree / CHART, patched(p, v, RECEIVER)), w), word)
    directory = vendored(tree)
    for path, value, word in WRONG_SIDECAR:
        values = patched(f"{NAME}.sidecar.{path}".rstrip("."), value, {})
        told(path, values, lambda p, v, w: refused(lambda: rendered(directory, v), w), word)
    return f"{len(WRONG) + len(WRONG_SIDECAR)} values"


def told(path, value, attempt, word):
    """Names the value in what went wrong."""
    try:
        attempt(path, value, word)
    except AssertionError as error:
        raise AssertionError(f"{path}={value}: {error}") from error


def readme(tree):
    """The examples of README.md are the consumer's, and a receiver that can be installed."""
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", (tree / CHART / "README.md").read_text(), re.S)
    shown = dict(blocks)
    equal(sorted(shown), ["Chart.yaml", "receiver.yaml", "templates/deployment.yaml", "values.yaml"])
    lines = [line.strip() for line in (tree / CONSUMER / "templates/deployment.yaml").read_text().splitlines()]
    example = [line.strip() for line in shown["templates/deployment.yaml"].splitlines() if line.strip() and "..." not in line]
    missing = [line for line in example if line not in lines]
    assert not missing and sum("include" in line for line in example) == 5, missing
    equal(yaml.safe_load(shown["Chart.yaml"])["dependencies"][0]["name"], NAME)
    rendered(vendored(tree), yaml.safe_load(shown["values.yaml"]))
    assert receiver(tree, yaml.safe_load(shown["receiver.yaml"]))["Ingress"]


# ---- The program


class files(tempfile.TemporaryDirectory):
    """A directory as /var/run/secrets would be, with every Secret that the values above name."""

    def __enter__(self):
        root = super().__enter__()
        for name, keys in {"innopaas": ("app-key", "authorization"), "innopaas-standby": ("app-key", "authorization"),
                           "innopaas-webhook": ("user-name", "authorization"), "innopaas-webhook-club": ("user-name", "authorization"),
                           "innopaas-webhook-previous": ()}.items():
            directory = pathlib.Path(root) / name
            directory.mkdir()
            for key in keys:
                (directory / key).write_text(f"{name}-{key}")
        directory = pathlib.Path(root) / "innopaas-webhook-tls"
        directory.mkdir()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", directory / "tls.key", "-out", directory / "tls.crt", "-subj", "/CN=hooks.example.com",
                        "-addext", "subjectAltName=DNS:hooks.example.com"], check=True, capture_output=True, timeout=20)
        return root


def checked(arguments, env):
    """What `check` prints, read, and what it says beside."""
    done = subprocess.run([BINARY, "check", *arguments], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    return yaml.safe_load(done.stdout), done.stderr


def checked_file(text, root):
    """The same for a file."""
    path = pathlib.Path(root) / "proxy.yaml"
    path.write_text(text.replace("/var/run/secrets", root))
    return checked(["--config", str(path)], {})


def free(count):
    """Ports that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def asked(url, body=None):
    """The status of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def eventually_200(url, process):
    """The status once it is 200, or the last one after 10 s."""
    end = time.monotonic() + 10
    status = None
    while time.monotonic() < end and status != 200:
        assert process.poll() is None, f"ended with {process.returncode}"
        try:
            status = asked(url)
        except OSError:
            pass
        time.sleep(0.02)
    return status


# ---- Is it noticed when the chart is broken?


CHECKS = [
    ("with neither used, nothing is rendered", nothing),
    ("lint has nothing to say", lint),
    ("the image's tag is the program's version", versions),
    ("every value has a sentence and a place in the schema", explained),
    ("config has the settings of the program and no others", settings),
    ("the sidecar is that of the kustomize component", component),
    ("with a webhook or a standby as well", overlays),
    ("every value of the sidecar arrives", options),
    ("aliases keep workloads apart", aliases),
    ("the chart's own context is a scope as well", within),
    ("sidecars and a receiver in one release", both),
    ("the program understands the sidecar's environment", sidecar_settings),
    ("the receiver's objects belong together", objects_of_receiver),
    ("the receiver is as restricted as the sidecar", restricted),
    ("every option of the receiver arrives", everything),
    ("a changed setting rolls the pods", rolls),
    ("the program takes proxy.yaml", taken),
    ("the receiver becomes ready without a pair", serves),
    ("the notes name what was installed", notes),
    ("wrong values are refused with a remedy", wrong),
    ("the examples of README.md", readme),
    ("every object is valid", valid),
]

TEMPLATES = f"{CHART}/templates"
SCHEMA, VALUES = f"{CHART}/values.schema.json", f"{CHART}/values.yaml"
# What is broken, where, how, and the case that must notice it. Each case is here: it can fail.
BROKEN = [
    ("a receiver that is always there", VALUES, "installed.\n  enabled: false", "installed.\n  enabled: true", nothing),
    ("a version that is none", f"{CHART}/Chart.yaml", "version: 0.1.0", "version: zero", lint),
    ("the image of another version", f"{CHART}/Chart.yaml", 'appVersion: "0.1.0"', 'appVersion: "0.0.9"', versions),
    ("a value without a sentence", VALUES, "  # How many pods.", "  replicas2: 2 #", explained),
    ("a schema that lets anything in", SCHEMA, '"global": {"type": "object"},', '"global": {"type": "object"}, "imagee": {},', explained),
    ("a setting that the program does not have", SCHEMA, '"poll"', '"polls"', settings),
    ("the values of the parent", f"{TEMPLATES}/_sidecar.tpl", 'get .Subcharts "innopaas-proxy" | default .', ".", component),
    ("a schema without global", SCHEMA, '"global": {"type": "object"},', "", component),
    ("a sidecar that is an init container", f"{TEMPLATES}/_sidecar.tpl", "  restartPolicy: Always\n", "", component),
    ("a writable root", f"{TEMPLATES}/_container.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", component),
    ("probes of another port", f"{TEMPLATES}/_container.tpl", "path: /livez, port: 7255", "path: /livez, port: 7253", component),
    ("a Secret that cannot be absent", f"{TEMPLATES}/_sidecar.tpl", ", optional: true", "", overlays),
    ("large numbers as floats", f"{TEMPLATES}/_container.tpl", "{{- int64 . -}}", "{{- . -}}", options),
    ("no word about a wrong context", f"{TEMPLATES}/_sidecar.tpl", '{{- if not (and (hasKey', '{{- if and false (and (hasKey', aliases),
    ("only the parent's context", f"{TEMPLATES}/_sidecar.tpl", 'get .Subcharts "innopaas-proxy" | default .', 'get .Subcharts "innopaas-proxy"', within),
    ("no account as a dependency", f"{TEMPLATES}/serviceaccount.yaml", "if .Values.receiver.enabled", "if and .Values.receiver.enabled .Chart.IsRoot", both),
    ("names that the program ignores", f"{TEMPLATES}/_container.tpl", 'printf "%s__" $name', 'printf "%s_" $name', sidecar_settings),
    ("a Service to another port", f"{TEMPLATES}/service.yaml", "targetPort: 7254", "targetPort: 7255", objects_of_receiver),
    ("a mount elsewhere", f"{TEMPLATES}/deployment.yaml", "mountPath: /var/run/secrets/{{ .secretName }}", "mountPath: /run/{{ .secretName }}", objects_of_receiver),
    ("any system call", f"{TEMPLATES}/deployment.yaml", "type: RuntimeDefault", "type: Unconfined", restricted),
    ("egress to everywhere", f"{TEMPLATES}/networkpolicy.yaml", "[Ingress, Egress]", "[Ingress]", everything),
    ("no checksum", f"{TEMPLATES}/deployment.yaml", 'include "innopaas-proxy.receiver.config" . | sha256sum', '"none" | sha256sum', rolls),
    ("a proxy.yaml that the program refuses", f"{TEMPLATES}/_receiver.tpl", '"app" .app "current"', '"name" .app "current"', taken),
    ("a receiver that waits for a pair", f"{TEMPLATES}/_receiver.tpl", '"ready_without_credentials" true', '"ready_without_credentials" false', serves),
    ("another command in the notes", f"{TEMPLATES}/NOTES.txt", "health readyz", "status", notes),
    ("one Secret mounted twice", f"{TEMPLATES}/_receiver.tpl", "if ne (len $secrets) (uniq $secrets | len)", "if false", wrong),
    ("an example that is not the consumer's", f"{CHART}/README.md", 'innopaas-proxy.env" . | nindent 12', 'innopaas-proxy.env" . | nindent 10', readme),
    ("a field that no API knows", f"{TEMPLATES}/poddisruptionbudget.yaml", "maxUnavailable: 1", "maxAvailable: 1", valid),
]


def planted(directory):
    """A tree with the chart and the consumer, where they may be changed."""
    tree = pathlib.Path(directory)
    for part in (CHART, CONSUMER):
        shutil.copytree(cases.ROOT / part, tree / part, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    return tree


def noticed(file, old, new, check):
    """The case fails over a chart in which `new` stands for `old`."""
    with tempfile.TemporaryDirectory() as directory:
        tree = planted(directory)
        text = (tree / file).read_text()
        assert old in text, f"{file} has no {old}"
        (tree / file).write_text(text.replace(old, new))
        try:
            check(tree)
        except (AssertionError, helm_python.HelmError, LookupError):
            return
    raise AssertionError(f"{check.__name__} did not notice")


def every_case_can_fail():
    """No case is without a chart that it refuses."""
    missing = {check.__name__ for _, check in CHECKS} - {check.__name__ for *_, check in BROKEN}
    assert not missing, missing


def main():
    """Everything, and then everything broken."""
    run = cases.Cases()
    with tempfile.TemporaryDirectory() as directory:
        tree = planted(directory)
        for name, check in CHECKS:
            run.run(name, check, tree)
    run.run("every case is tried with a broken chart", every_case_can_fail)
    for name, file, old, new, check in BROKEN:
        run.run(f"noticed: {name}", noticed, file, old, new, check)
    run.end()


if __name__ == "__main__":
    main()
