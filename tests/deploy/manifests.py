"""Everything under deploy/kubernetes, as kustomize renders it."""

import ast
import copy
import functools
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

import kubernetes
from cases import DEPLOY, ROOT, Cases
from kubernetes import Pod, check, load, render, validate, where
from mutants import BASE_URL, GONE, INVALID, MONITOR, MUTANTS

HERE = pathlib.Path(__file__).parent
SHIPPED = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.parent for path in SHIPPED.glob("overlays/*/kustomization.yaml"))
NATIVE = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
ORDINARY = ("Deployment", "StatefulSet", "DaemonSet")
MONITORING = SHIPPED / "monitoring"
# The last versions without native sidecars.
BEFORE = ("1.27", "1.28")


def main():
    cases = Cases()
    for path in OVERLAYS:
        cases.run(f"overlay {path.name} is valid and sound", is_sound, path)
    cases.run(f"overlay older is valid for {' and '.join(BEFORE)}", was_sound, SHIPPED / "overlays/older")
    cases.run("pod.yaml is valid and sound", lambda: none_wrong(load((SHIPPED / "pod.yaml").read_text())))
    for path in OVERLAYS:
        cases.run(f"overlay {path.name} is watched", is_watched, path)
    for name, fact in FACTS:
        cases.run(f"overlay {name}: {sentence(fact)}", lambda: fact(by_name(render(SHIPPED / "overlays" / name))))
    for test in (the_sidecar_is_the_same_in_the_pod_and_in_the_cronjob, the_ordinary_container_differs_in_what_it_must,
                 the_documents_show_the_sidecar_that_is_shipped, every_component_is_shown_by_an_overlay,
                 the_kustomization_to_copy_works, two_applications_come_under_one_kustomization,
                 the_patch_for_webhooks_to_another_address_works,
                 what_an_overlay_says_later_wins, an_image_of_your_own_comes_by_images):
        cases.run(sentence(test), test)
    for components in APPLIED:
        cases.run(f"{' '.join(components)}: applied to {len(workloads())} workloads", applied, components)
    for name, *arguments in MISUSES:
        cases.run(f"misuse is noticed: {name}", misuse, *arguments)
    sites = set()
    for overlay, name, path, value, expected in MUTANTS:
        cases.run(f"mutant of {overlay}: {name} {path} = {value}"[:110], mutant, overlay, name, path, value, expected, sites)
    cases.run("each place that reports was seen to report", every_site, sites)
    for overlay, name, path, value, expected in INVALID:
        cases.run(f"invalid {overlay}: {name} {path} = {value}"[:110], invalid, overlay, name, path, value, expected)
    cases.run("checkov finds what its list expects and nothing else", checkov)
    cases.run("hadolint finds nothing in the Dockerfile", hadolint)
    cases.end()


def sentence(function):
    return function.__name__.replace("_", " ")


def none_wrong(objects, versions=kubernetes.VERSIONS):
    problems = validate(objects, versions) + check(objects)
    if problems:
        raise AssertionError("\n  ".join(["", *problems]))
    return f"{len(objects)} objects"


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"is {found!r}, should be {wanted!r}")


def by_name(objects):
    return {where(each): each for each in objects}


# The overlays


def is_sound(path):
    objects = render(path)
    for each in objects:
        if each["kind"] != "Namespace":
            equal(each["metadata"].get("namespace"), "shop")
    labels = next(each for each in objects if each["kind"] == "Namespace")["metadata"]["labels"]
    equal(labels["pod-security.kubernetes.io/enforce"], "restricted")
    return none_wrong(objects)


def was_sound(path):
    return none_wrong(render(path), BEFORE)


def is_watched(path):
    """The monitor that is shipped finds its pods and their port, and the policies let it in."""
    return none_wrong(render(path) + render(MONITORING))


def two_replicas_are_spread_and_one_stays(objects):
    shop = objects["Deployment/shop"]["spec"]
    equal(shop["replicas"], 2)
    equal(shop["template"]["spec"]["topologySpreadConstraints"][0]["topologyKey"], "kubernetes.io/hostname")
    equal(objects["PodDisruptionBudget/shop"]["spec"]["minAvailable"], 1)
    equal(objects["Service/shop"]["spec"]["ports"][0]["targetPort"], 8080)


def nothing_of_the_components_own_is_applied(objects):
    equal([name for name in objects if name.startswith("ConfigMap/")], [])


def only_what_is_named_is_open(objects):
    proxy, shop = objects["NetworkPolicy/innopaas-proxy"]["spec"], objects["NetworkPolicy/shop"]["spec"]
    equal(proxy["policyTypes"], ["Ingress", "Egress"])
    equal([port["port"] for rule in proxy["ingress"] for port in rule["ports"]], [7255])
    equal([port["port"] for rule in proxy["egress"] for port in rule["ports"]], [53, 53, 443])
    equal(shop["policyTypes"], ["Ingress"])
    equal([name for name in objects if name.startswith("NetworkPolicy/")], ["NetworkPolicy/innopaas-proxy", "NetworkPolicy/shop"])


def it_ends_by_itself(objects):
    pod = Pod(next(each for name, each in objects.items() if name.split("/")[0] in kubernetes.ENDING))
    # Only a native sidecar is left out when a Job's pod is asked whether it has ended.
    equal([container["name"] for container in pod.main], [pod.each["metadata"]["name"]])
    equal([(container["name"], container["restartPolicy"]) for container in pod.init], [("innopaas-proxy", "Always")])
    equal(pod.spec["restartPolicy"], "Never")
    job = pod.each["spec"].get("jobTemplate", pod.each)["spec"]
    equal((job["backoffLimit"], job["activeDeadlineSeconds"]), (0, 3600))


def two_never_run_at_a_time(objects):
    equal(objects["CronJob/reminders"]["spec"]["concurrencyPolicy"], "Forbid")


def events_come_in_over_tls_and_reach_the_application(objects):
    pod = Pod(objects["Deployment/shop"])
    problems = kubernetes.Problems()
    kubernetes.settings(pod, list(objects.values()), problems)
    equal(problems, [])
    receiver = pod.settings["webhook"]
    equal((receiver["listen"], receiver["verify"], receiver["default"]),
          ("0.0.0.0:7254", "headers", "http://127.0.0.1:8080/innopaas"))
    equal([entry["app"] for entry in receiver["credentials"]], ["shop"])
    sources = {volume["name"]: volume["secret"] for volume in pod.spec["volumes"]}
    equal(sources["innopaas-webhook"], {"secretName": "innopaas-webhook"})
    equal(sources["innopaas-webhook-previous"], {"secretName": "innopaas-webhook-previous", "optional": True})
    equal(objects["Ingress/innopaas-webhook"]["spec"]["tls"], [{"hosts": ["hooks.example.com"], "secretName": "hooks-example-com"}])
    equal(objects["NetworkPolicy/innopaas-webhook"]["spec"]["ingress"][0]["ports"], [{"port": 7254}])


def the_proxy_is_started_first_and_outlives_the_application(objects):
    pod = Pod(objects["Deployment/shop"])
    equal([container["name"] for container in pod.containers], ["innopaas-proxy", "shop"])
    equal(pod.init, [])
    equal(pod.proxy["lifecycle"]["postStart"]["exec"]["command"], ["/innopaas-proxy", "wait", "--for", "startupz"])
    equal(pod.applications()[0]["env"], [BASE_URL])


def there_is_a_second_pair(objects):
    pod = Pod(objects["Deployment/shop"])
    kubernetes.settings(pod, [], kubernetes.Problems())
    equal(pod.settings["credentials"]["standby"]["directory"], "/var/run/secrets/innopaas-standby")


def both_keys_are_read_at_once(objects):
    spec = objects["ExternalSecret/innopaas"]["spec"]
    equal(len(spec["dataFrom"]), 1)
    equal("data" in spec, False)
    equal((spec["target"]["name"], spec["target"]["deletionPolicy"]), ("innopaas", "Retain"))


def there_is_no_secret(objects):
    pod = Pod(objects["Deployment/shop"])
    equal([volume for volume in pod.spec["volumes"] if "secret" in volume], [])
    driver = {"driver": "secrets-store.csi.k8s.io", "readOnly": True, "volumeAttributes": {"secretProviderClass": "innopaas"}}
    equal(pod.spec["volumes"], [{"name": "innopaas", "csi": driver}])
    listed = yaml.safe_load(objects["SecretProviderClass/innopaas"]["spec"]["parameters"]["objects"])
    equal([each["objectName"] for each in listed], ["app-key", "authorization"])
    equal(len({each["secretPath"] for each in listed}), 1)


FACTS = [
    ("web", two_replicas_are_spread_and_one_stays),
    ("web", nothing_of_the_components_own_is_applied),
    ("web", only_what_is_named_is_open),
    ("job", it_ends_by_itself),
    ("cronjob", it_ends_by_itself),
    ("cronjob", two_never_run_at_a_time),
    ("webhook", events_come_in_over_tls_and_reach_the_application),
    ("older", the_proxy_is_started_first_and_outlives_the_application),
    ("older", nothing_of_the_components_own_is_applied),
    ("standby", there_is_a_second_pair),
    ("external-secrets", both_keys_are_read_at_once),
    ("csi", there_is_no_secret),
]


# What must be the same in several places


def yaml_file(*parts):
    return yaml.safe_load(SHIPPED.joinpath(*parts).read_text())


def the_sidecar_is_the_same_in_the_pod_and_in_the_cronjob():
    sidecar = yaml_file("sidecar", "sidecar.yaml")["spec"]["template"]
    equal(yaml_file("sidecar", "sidecar-of-cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"], sidecar)
    pod = yaml_file("pod.yaml")
    equal(pod["spec"]["initContainers"], sidecar["spec"]["initContainers"])
    for field in ("volumes", "enableServiceLinks", "terminationGracePeriodSeconds"):
        equal(pod["spec"][field], sidecar["spec"][field])
    equal(pod["metadata"]["labels"]["innopaas-proxy"], "sidecar")


def the_ordinary_container_differs_in_what_it_must():
    native = yaml_file("sidecar", "sidecar.yaml")["spec"]["template"]
    ordinary = yaml_file("sidecar-container", "sidecar.yaml")["spec"]["template"]
    container = ordinary["spec"].pop("containers")[0]
    wanted = native["spec"].pop("initContainers")[0]
    equal(ordinary, native)
    equal(wanted.pop("restartPolicy"), "Always")
    equal(container.pop("lifecycle"), {"postStart": {"exec": {"command": ["/innopaas-proxy", "wait", "--for", "startupz"]}}})
    equal([entry for entry in container["env"] if "DRAIN" not in entry["name"]], wanted.pop("env"))
    container.pop("env")
    equal(container, wanted)
    equal(yaml_file("sidecar-container/base-url", "base-url.yaml"), yaml_file("sidecar/base-url", "base-url.yaml"))


def the_documents_show_the_sidecar_that_is_shipped():
    sidecar = yaml_file("sidecar", "sidecar.yaml")["spec"]["template"]["spec"]
    shown = 0
    for document in (ROOT / "README.md", DEPLOY / "README.md"):
        for block in re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.M | re.S):
            found = yaml.safe_load(block)
            if "initContainers" in found:
                within(found["initContainers"][0], sidecar["initContainers"][0], document.name)
                equal(found["volumes"], sidecar["volumes"])
                shown += 1
    equal(shown > 0, True)
    return f"{shown} times"


def within(part, whole, place):
    """Every field that is shown is the shipped one, and of some, every entry: the limit of connections goes with
    that of memory, which is not shown."""
    for field, value in part.items():
        shipped = whole.get(field)
        if field == "env":
            shipped = [entry for entry in shipped if entry in value]
        if field == "securityContext":
            shipped = {name: word for name, word in shipped.items() if name in value}
        if shipped != value:
            raise AssertionError(f"{place}: {field} is {value!r}, shipped is {whole.get(field)!r}")


def every_component_is_shown_by_an_overlay():
    kustomizations = {path.parent: yaml.safe_load(path.read_text()) for path in SHIPPED.rglob("kustomization.yaml")}
    directories = {path for path, it in kustomizations.items() if it["kind"] == "Component" and "monitoring" not in path.parts}
    shown = {(path / component).resolve() for path in [*OVERLAYS, *directories]
             for component in kustomizations[path.resolve()].get("components", [])}
    equal(sorted(str(path) for path in directories - shown), [])
    return f"{len(directories)} components, {len(OVERLAYS)} overlays"


def the_kustomization_to_copy_works():
    """The one in the document, with this repository checked out beside the application."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DEPLOY / "README.md").read_text(), re.M | re.S)
    shown = [block for block in blocks if "kind: Kustomization" in block and "components:" in block]
    equal(len(shown) > 0, True)
    for block in shown:
        with tempfile.TemporaryDirectory() as root:
            shutil.copytree(SHIPPED, f"{root}/innopaas-proxy/deploy/kubernetes")
            application = pathlib.Path(root, "shop")
            application.mkdir()
            for name in yaml.safe_load(block)["resources"]:
                (application / name).write_text(yaml.safe_dump(workload("Deployment", "shop")))
            (application / "kustomization.yaml").write_text(block)
            objects = render(application)
        none_wrong(objects)
        equal(Pod(objects[0]).proxy["image"], "registry.example.com/innopaas-proxy:0.1.0")


def the_patch_for_webhooks_to_another_address_works():
    """The one in the document, as part of a kustomization with the two components."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DEPLOY / "README.md").read_text(), re.M | re.S)
    (patches,) = [found["patches"] for found in map(yaml.safe_load, blocks) if "patches" in found]
    shop = container("shop", ports=[{"containerPort": 9090}])
    objects = kustomized([workload("Deployment", "shop", containers=[shop])], ["sidecar", "webhook"], patches=patches)
    none_wrong(objects)
    told = {entry["name"]: entry["value"] for entry in Pod(objects[0]).proxy["env"]}
    equal(told["INNOPAAS_PROXY_WEBHOOK__DEFAULT"], "http://127.0.0.1:9090/events")


def two_applications_come_under_one_kustomization():
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(SHIPPED, f"{root}/kubernetes")
        for name in ("shop", "club"):
            pathlib.Path(root, name).mkdir()
            pathlib.Path(root, name, "app.yaml").write_text(yaml.safe_dump(workload("Deployment", name)))
            pathlib.Path(root, name, "kustomization.yaml").write_text(yaml.safe_dump(
                {"resources": ["app.yaml"], "components": ["../kubernetes/sidecar"]}))
        pathlib.Path(root, "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["shop", "club"]}))
        objects = render(root)
    none_wrong(objects)
    equal(sorted(each["kind"] for each in objects), ["Deployment", "Deployment"])
    equal(all(Pod(each).proxy and BASE_URL in Pod(each).applications()[0]["env"] for each in objects), True)


def what_an_overlay_says_later_wins():
    """The component replaces a grace period; the overlay that names it has the last word."""
    patch = {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"spec": {
            "terminationGracePeriodSeconds": 300,
            "initContainers": [{"name": "innopaas-proxy", "resources": {"limits": {"memory": "128Mi"}}}]}}}})}
    objects = kustomized([workload("Deployment", "shop", terminationGracePeriodSeconds=90)], ["sidecar"], patches=[patch])
    pod = Pod(objects[0])
    equal(pod.spec["terminationGracePeriodSeconds"], 300)
    equal(pod.proxy["resources"]["limits"]["memory"], "128Mi")
    none_wrong(objects)


def an_image_of_your_own_comes_by_images():
    images = [{"name": "innopaas-proxy", "newName": "registry.example.com/innopaas-proxy", "digest": "sha256:" + "0" * 64}]
    for kind in NATIVE:
        objects = kustomized([workload(kind, "shop")], ["sidecar"], images=images)
        equal(Pod(objects[0]).proxy["image"], "registry.example.com/innopaas-proxy@sha256:" + "0" * 64)


# Each component over each kind of workload


def workload(kind, name, **pod):
    """An application of a kind, within the restricted profile."""
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65533, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("shop", ports=[{"containerPort": 8080}])],
        **pod,
    }
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    selector = {"selector": {"matchLabels": labels}}
    if kind in kubernetes.ENDING:
        spec["restartPolicy"] = "Never"
    inner = {
        "Deployment": {**selector, "template": template},
        "StatefulSet": {**selector, "serviceName": name, "template": template},
        "DaemonSet": {**selector, "template": template},
        "Job": {"template": template},
        "CronJob": {"schedule": "@hourly", "jobTemplate": {"spec": {"template": template}}},
    }[kind]
    return {"apiVersion": "batch/v1" if kind in kubernetes.ENDING else "apps/v1", "kind": kind,
            "metadata": {"name": name, "labels": dict(labels)}, "spec": inner}


def container(name, **fields):
    return {
        "name": name, "image": f"{name}:1.0.0", "resources": {"limits": {"memory": "64Mi"}},
        "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **fields,
    }


def awkward():
    """Pods that already have what a component adds to, or something beside it."""
    port = {"ports": [{"containerPort": 8080}]}
    cache = {"name": "cache", "mountPath": "/cache"}
    return {
        "plain": {},
        "env": {"containers": [container("shop", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], **port)]},
        "env-from": {"containers": [container("shop", envFrom=[{"configMapRef": {"name": "shop"}}], **port)]},
        "old-url": {"containers": [container("shop", env=[{"name": "INNOPAAS_BASE_URL", "value": "https://api.innopaas.com"}], **port)]},
        "init": {"initContainers": [container("migrate"), container("warm")]},
        "own-sidecar": {"initContainers": [container("migrate"), container("logs", restartPolicy="Always")]},
        "several": {"containers": [container("shop", **port), container("worker"), container("metrics", ports=[{"containerPort": 9090}])]},
        "volumes": {"containers": [container("shop", volumeMounts=[cache], **port)], "volumes": [{"name": "cache", "emptyDir": {}}]},
        "grace": {"terminationGracePeriodSeconds": 300},
        "links": {"enableServiceLinks": True},
        "account": {"serviceAccountName": "shop", "automountServiceAccountToken": True},
    }


def workloads():
    """Each kind with each of these, and each kind labelled off."""
    made = [workload(kind, f"{kind.lower()}-{name}", **copy.deepcopy(pod)) for kind in NATIVE for name, pod in awkward().items()]
    for kind in NATIVE:
        off = workload(kind, f"{kind.lower()}-off")
        off["metadata"]["labels"]["innopaas-proxy"] = "off"
        made.append(off)
    for kind in kubernetes.ENDING:
        bare = workload(kind, f"{kind.lower()}-bare")
        del (bare["spec"].get("jobTemplate", bare)["spec"]["template"])["metadata"]
        made.append(bare)
    data = container("shop", ports=[{"containerPort": 8080}], volumeMounts=[{"name": "data", "mountPath": "/data"}])
    claimed = workload("StatefulSet", "statefulset-claims", containers=[data])
    claimed["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]
    return made + [claimed]


APPLIED = [
    ["sidecar"],
    ["sidecar", "standby"],
    ["standby", "sidecar"],
    ["sidecar", "webhook"],
    ["webhook", "standby", "sidecar", "network-policy"],
    ["sidecar", "secrets/csi"],
    ["sidecar", "standby", "webhook", "secrets/csi"],
    ["sidecar", "secrets/external-secrets"],
    ["sidecar-container"],
    ["sidecar-container", "secrets/csi"],
    ["sidecar-container", "secrets/external-secrets"],
]


def kustomized(objects, components, **fields):
    """What kustomize makes of them with these components."""
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(SHIPPED, f"{root}/kubernetes")
        case = pathlib.Path(root, "case")
        case.mkdir()
        (case / "objects.yaml").write_text(yaml.safe_dump_all(objects))
        (case / "kustomization.yaml").write_text(yaml.safe_dump({
            "resources": ["objects.yaml"], "components": [f"../kubernetes/{name}" for name in components], **fields}))
        return render(case)


def applied(components):
    given, kinds = workloads(), NATIVE
    if "sidecar-container" in components:
        kinds = ORDINARY
        if "secrets/csi" in components:
            given = [each for each in given if each["kind"] in kinds]
    found = kustomized(given, components)
    rendered = by_name(found)
    for each in given:
        result = rendered[where(each)]
        if each["kind"] in kinds and each["metadata"]["labels"].get("innopaas-proxy") != "off":
            kept(Pod(each), Pod(result), components)
        else:
            equal(result, each)
    return none_wrong(found, (kubernetes.VERSIONS[0], kubernetes.VERSIONS[-1]))


def kept(before, after, components):
    """Nothing of the application's own is lost or moved."""
    ours = {"innopaas-proxy"}
    equal(after.labels, {**before.labels, "innopaas-proxy": "sidecar"})
    equal([c for c in after.init if c["name"] not in ours], before.init)
    for first, (own, result) in enumerate(zip(before.main, [c for c in after.main if c["name"] not in ours], strict=True)):
        if first == 0:
            environment = [entry for entry in own.get("env", []) if entry["name"] != BASE_URL["name"]]
            equal(result["env"], environment + [BASE_URL])
            own = {**own, "env": result["env"]}
        equal(result, own)
    equal([v for v in after.spec["volumes"] if not v["name"].startswith("innopaas")], before.spec.get("volumes", []))
    names = {"innopaas"} | {f"innopaas-{name}" for name in ("standby", "webhook") if name in components}
    if "webhook" in components:
        names.add("innopaas-webhook-previous")
    if after.kind in kubernetes.ENDING:
        names -= {"innopaas-webhook", "innopaas-webhook-previous"}
    equal({v["name"] for v in after.spec["volumes"] if v["name"].startswith("innopaas")}, names)
    equal(after.spec["terminationGracePeriodSeconds"], 60)
    equal(after.spec["enableServiceLinks"], False)
    untouched = {"initContainers", "containers", "volumes", "terminationGracePeriodSeconds", "enableServiceLinks"}
    for field in set(before.spec) - untouched:
        equal(after.spec[field], before.spec[field])


def mounting(name):
    """An application that still mounts a volume of that name itself."""
    shop = container("shop", volumeMounts=[{"name": name, "mountPath": "/secrets", "readOnly": True}])
    return {"containers": [shop]}


MISUSES = [
    ("the driver's component before the sidecar's", ["secrets/csi", "sidecar"], {}, "volume innopaas: has 2 sources"),
    ("both sidecars", ["sidecar", "sidecar-container"], {}, "two containers have one name"),
    ("a standby without a sidecar", ["standby"], {}, "the image that is not there"),
    ("a standby for an ordinary container", ["sidecar-container", "standby"], {}, "two containers have one name"),
    ("an application that mounts the pair as well", ["sidecar"], mounting("innopaas"), "shop: mounts the secret volume innopaas"),
    ("a volume of the same name", ["sidecar"], {**mounting("innopaas"), "volumes": [{"name": "innopaas", "emptyDir": {}}]},
     "volume innopaas: has 2 sources"),
    ("an application with the proxy's user", ["sidecar"], {"securityContext": {"runAsUser": 65532}}, "shop: has the user 65532"),
    ("a base URL from elsewhere", ["sidecar"], {"containers": [container("shop", env=[
        {"name": "INNOPAAS_BASE_URL", "valueFrom": {"configMapKeyRef": {"name": "shop", "key": "url"}}}])]},
     "INNOPAAS_BASE_URL has value and valueFrom"),
    ("an application on the proxy's port", ["sidecar"], {"containers": [container("shop", ports=[{"containerPort": 7255}])]},
     "two containers have one port"),
]


def misuse(components, pod, expected):
    try:
        problems = check(kustomized([workload("Deployment", "shop", **copy.deepcopy(pod))], components))
    except AssertionError as refused:  # by kustomize itself
        problems = [str(refused)]
    reported(problems, expected)


def reported(problems, expected):
    hits = [problem for problem in problems if expected in problem]
    if not hits:
        raise AssertionError(f"nothing says {expected!r} among {list(problems)}")
    return hits


# The checks, each seen to fail


@functools.cache
def good(overlay):
    """The objects of an overlay, of which nothing is wrong."""
    objects = good("web") + [MONITOR] if overlay == "monitored" else render(SHIPPED / "overlays" / overlay)
    none_wrong(objects)
    return objects


def mutant(overlay, name, path, value, expected, sites):
    problems = check(broken(overlay, name, path, value))
    sites.update(problem.site for problem in problems)
    reported(problems, expected)


def invalid(overlay, name, path, value, expected):
    reported(validate(broken(overlay, name, path, value)), expected)


def broken(overlay, name, path, value):
    """The overlay's objects with one thing other than it was."""
    objects = copy.deepcopy(good(overlay))
    each = by_name(objects)[name]
    scope, _, rest = path.rpartition(":")
    if scope == "env":
        kept = [entry for entry in Pod(each).proxy["env"] if entry["name"] != rest]
        Pod(each).proxy["env"] = kept + ([] if value is GONE else [{"name": rest, "value": value}])
        return objects
    pod = Pod(each) if scope else None
    place = {"": lambda: each, "pod": lambda: pod.spec, "labels": lambda: pod.labels, "proxy": lambda: pod.proxy,
             "app": lambda: pod.applications()[0]}[scope]()
    *steps, last = [int(step) if step.isdigit() else step for step in rest.split("/")]
    for step in steps:
        place = place[step]
    if value is GONE:
        del place[last]
    elif last == "+":
        place.insert(0, copy.deepcopy(value))
    else:
        place[last] = copy.deepcopy(value)
    return objects


def every_site(sites):
    """No check is there that was never seen to fail."""
    tree = ast.parse((HERE / "kubernetes.py").read_text())
    calls = {node.lineno for node in ast.walk(tree)
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "say"}
    equal(sorted(calls - sites), [])
    return f"{len(calls)} places"


# The tools of others


def checkov():
    expected = yaml.safe_load((HERE / "checkov.yaml").read_text())
    with tempfile.TemporaryDirectory() as root:
        for path in OVERLAYS:
            pathlib.Path(root, f"{path.name}.yaml").write_text(kubernetes.kustomize(path))
        shutil.copy(SHIPPED / "pod.yaml", root)
        shutil.copy(DEPLOY / "Dockerfile", root)
        done = subprocess.run(["checkov", "-d", root, "--framework", "kubernetes", "dockerfile", "--skip-download", "--quiet",
                               "--compact", "-o", "json"], capture_output=True, text=True, timeout=300)
    reports = json.loads(done.stdout)
    reports = reports if isinstance(reports, list) else [reports]
    failed, passed = {}, 0
    for report in reports:
        equal(report["summary"]["parsing_errors"], 0)
        passed += report["summary"]["passed"]
        for each in report["results"]["failed_checks"]:
            failed.setdefault(each["check_id"], f"{each['check_name']}: {each['file_path']} {each['resource']}")
    equal({name: text for name, text in failed.items() if name not in expected}, {})
    equal(sorted(set(expected) - set(failed)), [])
    equal(passed > 0, True)
    return f"{passed} passed, {len(expected)} kinds of finding expected"


def hadolint():
    done = subprocess.run(["hadolint", "--no-color", str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
