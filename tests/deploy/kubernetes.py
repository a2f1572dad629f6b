"""What can be said about Kubernetes objects without a cluster.

`validate` holds them to the schemas of the API, `check` to what no schema knows: that names, ports
and labels of one object are those of the other, that the restricted profile admits the pods, that
the program itself takes what the manifest tells it. Both answer a list of problems, each a line of
text; it is empty when all is well.
"""

import functools
import ipaddress
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import yaml

import cases

VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")

PROXY = "innopaas-proxy"
CREDENTIALS = "/var/run/secrets/innopaas"
# Seconds that an application may take to end before the proxy must: what Kubernetes gives a pod.
APPLICATION = 30
# Seconds that the proxy itself takes to end after drain.maximum, and some to spare.
CUT = 5
# What the proxy needs without a call, and for each one in flight whose body fills what may be kept of it;
# tests/deploy/sizing.py measures it.
IDLE = 5 * 1024 ** 2
EACH = 240 * 1024
# And for each webhook on its way.
EACH_WEBHOOK = 200 * 1024
# What the calls must not reach, whatever a name resolves to.
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_6 = ("fc00::/7", "fe80::/10")

# The one in C where there is one: the same, ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Where the pod template of each kind is.
TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
ENDING = ("Job", "CronJob")


def load(text):
    """The objects of a YAML text with any number of documents."""
    return [document for document in yaml.load_all(text, LOADER) if document]


def render(directory):
    """What kustomize makes of a directory."""
    return load(kustomize(directory))


def kustomize(directory):
    """The same, as text. What kustomize warns of is an error here: it is about deprecated fields."""
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, timeout=60)
    if done.returncode or done.stderr:
        raise AssertionError(f"kubectl kustomize {directory}: {done.stderr.strip()}")
    return done.stdout


# The schemas of one version are 10 MB of JSON, read anew for each object if nobody keeps them.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def validate(objects, versions=VERSIONS):
    """What is wrong with the objects by the schemas of each version, and by crds.yaml."""
    return [problem for each in objects for problem in _validated(json.dumps(each, default=str), versions)]


@functools.cache
def _validated(text, versions):
    each = json.loads(text)
    kind = f"{each.get('apiVersion')} {each.get('kind')}"
    schema = crds().get(kind)
    if schema:
        errors = jsonschema.Draft202012Validator(schema).iter_errors(each)
        return [f"{where(each)}: {'.'.join(map(str, error.path))}: {error.message}" for error in errors]
    problems = []
    for version in versions:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{where(each)}: {version}: {'.'.join(map(str, error.path))}: {error.message}")
        except (kubernetes_validate.SchemaNotFoundError, KeyError):
            problems.append(f"{where(each)}: {version}: {kind} is not known")
    return problems


@functools.cache
def crds():
    """The schemas of what operators define, by apiVersion and kind: what our manifests use of them."""
    return yaml.load((pathlib.Path(__file__).parent / "crds.yaml").read_text(), LOADER)


class Problem(str):
    """A line about what is wrong. `site` is the line here that said so, for the test of the checks."""

    def __new__(cls, text, site):
        problem = super().__new__(cls, text)
        problem.site = site
        return problem


class Problems(list):
    """Collects them."""

    def say(self, place, text):
        """One more."""
        self.append(Problem(f"{place}: {text}", sys._getframe(1).f_lineno))


class Pod:
    """The pods of a workload."""

    def __init__(self, each):
        template = each
        for step in TEMPLATES[each["kind"]]:
            template = template[step]
        self.each, self.kind, self.where = each, each["kind"], where(each)
        self.namespace = each["metadata"].get("namespace", "")
        self.labels = template.get("metadata", {}).get("labels") or {}
        self.spec = template["spec"]
        self.init = self.spec.get("initContainers") or []
        self.main = self.spec.get("containers") or []
        self.containers = self.init + self.main
        proxies = [container for container in self.containers if container["name"] == PROXY]
        self.proxy = proxies[0] if proxies else None
        self.native = self.proxy in self.init
        self.settings = None

    def applications(self):
        """The containers that run beside the proxy and are none."""
        return [container for container in self.main if container["name"] != PROXY]

    def alone(self):
        """Whether the proxy has no application: then it receives webhooks for others, and needs no pair."""
        return bool(self.proxy) and len(self.containers) == 1

    def security(self, container, field):
        """What holds for a container: its own word, or else the pod's."""
        own = container.get("securityContext") or {}
        return own.get(field, (self.spec.get("securityContext") or {}).get(field))


def where(each):
    """How an object is called in a problem."""
    return f"{each.get('kind')}/{(each.get('metadata') or {}).get('name')}"


def check(objects):
    """What is wrong with the objects beside what schemas know."""
    problems = Problems()
    pods = [Pod(each) for each in objects if each["kind"] in TEMPLATES]
    for pod in pods:
        for one in (restart, sidecar, profile, containers, users, volumes, secrets, ports):
            one(pod, problems)
        if pod.proxy:
            settings(pod, objects, problems)
    for each in objects:
        if each["kind"] in OBJECTS:
            OBJECTS[each["kind"]](each, objects, pods, problems)
    isolation(objects, pods, problems)
    classes(objects, pods, problems)
    return problems


# Pods


def restart(pod, problems):
    """`restartPolicy` is any text for the schema of a container."""
    for container in pod.main:
        if "restartPolicy" in container:
            problems.say(pod.where, f"{container['name']}: restartPolicy is for initContainers only")
    for container in pod.init:
        if container.get("restartPolicy", "Always") != "Always":
            problems.say(pod.where, f"{container['name']}: restartPolicy is Always or absent in initContainers")
    allowed = ("Never", "OnFailure") if pod.kind in ENDING else ("Always", None)
    if pod.spec.get("restartPolicy") not in allowed and pod.kind != "Pod":
        problems.say(pod.where, f"restartPolicy {pod.spec.get('restartPolicy')} is not for a {pod.kind}")


def sidecar(pod, problems):
    """The proxy is where it is started first, and the pod says that it has one."""
    if bool(pod.proxy and not pod.alone()) != (pod.labels.get(PROXY) == "sidecar"):
        problems.say(pod.where, f"the label {PROXY}: sidecar and the container {PROXY} belong together")
    if not pod.proxy:
        return
    if pod.spec.get("enableServiceLinks") is not False:
        problems.say(pod.where, "enableServiceLinks is not false: every Service becomes seven environment names")
    if pod.alone():
        return
    if pod.native:
        if pod.init[0] is not pod.proxy:
            problems.say(pod.where, "the proxy is not the first of initContainers: those before it cannot call")
        if pod.proxy.get("restartPolicy") != "Always":
            problems.say(pod.where, "the proxy is no sidecar: the pod waits for its end before the application starts")
        if "startupProbe" not in pod.proxy:
            problems.say(pod.where, "the proxy has no startupProbe: the application starts before it listens")
    else:
        if pod.kind in ENDING or pod.spec.get("restartPolicy", "Always") != "Always":
            problems.say(pod.where, "it would never end: the proxy is an ordinary container")
        if pod.main[0] is not pod.proxy:
            problems.say(pod.where, "the proxy is not the first of containers: the application is started before it")
        hook = ((pod.proxy.get("lifecycle") or {}).get("postStart") or {}).get("exec") or {}
        if hook.get("command") != ["/innopaas-proxy", "wait", "--for", "startupz"]:
            problems.say(pod.where, "the proxy has no postStart that waits until it listens: the application starts before, or never")


def profile(pod, problems):
    """The restricted profile of the Pod Security Standards, and a root that nobody can write to."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field):
            problems.say(pod.where, f"{field} is not restricted")
    if pod.spec.get("shareProcessNamespace"):
        problems.say(pod.where, "shareProcessNamespace shows the proxy's memory and files to a neighbour")
    if (pod.spec.get("securityContext") or {}).get("sysctls"):
        problems.say(pod.where, "sysctls are more than the profile needs to allow")
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.spec.get("volumes") or []:
        if set(volume) - {"name"} - allowed:
            problems.say(pod.where, f"volume {volume['name']}: {', '.join(set(volume) - {'name'} - allowed)} is not restricted")
    for container in pod.containers:
        own = container.get("securityContext") or {}
        capabilities = own.get("capabilities") or {}
        bad = [text for text, wrong in {
            "privileged": own.get("privileged"),
            "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is not False,
            "capabilities.drop has no ALL": "ALL" not in (capabilities.get("drop") or []),
            "capabilities are added": set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"},
            "runAsNonRoot is not true": pod.security(container, "runAsNonRoot") is not True,
            "runAsUser is 0": pod.security(container, "runAsUser") == 0,
            "seccompProfile is not RuntimeDefault":
                (pod.security(container, "seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") != "Default",
            "seLinuxOptions": pod.security(container, "seLinuxOptions"),
            "a hostPort": any(port.get("hostPort") for port in container.get("ports") or []),
            "a probe or hook names a host": any((action.get("httpGet") or action.get("tcpSocket") or {}).get("host")
                                                for action in actions(container)),
            "readOnlyRootFilesystem is not true": own.get("readOnlyRootFilesystem") is not True,
        }.items() if wrong]
        if bad:
            problems.say(pod.where, f"{container['name']}: {', '.join(bad)}")


def containers(pod, problems):
    """What each container needs whatever it does."""
    names = [container["name"] for container in pod.containers]
    if len(set(names)) < len(names):
        problems.say(pod.where, f"two containers have one name: {names}")
    for container in pod.containers:
        name, image = container["name"], container.get("image", "")
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            problems.say(pod.where, f"{name}: the image {image or 'that is not there'} may be another one tomorrow")
        if "memory" not in ((container.get("resources") or {}).get("limits") or {}):
            problems.say(pod.where, f"{name}: no limit of memory")
        environment = [entry["name"] for entry in container.get("env") or []]
        if len(set(environment)) < len(environment):
            problems.say(pod.where, f"{name}: a name stands twice in env")
        for entry in container.get("env") or []:
            if "value" in entry and "valueFrom" in entry:
                problems.say(pod.where, f"{name}: {entry['name']} has value and valueFrom")


def users(pod, problems):
    """Each container has a user of its own: the same one could read the proxy's files and memory.

    An image may name a user, too, and 65532 is a common one: so all of them are written here.
    """
    if not pod.proxy:
        return
    seen = {}
    for container in pod.containers:
        user = pod.security(container, "runAsUser")
        if user is None:
            problems.say(pod.where, f"{container['name']}: no runAsUser")
        elif PROXY in (container["name"], seen.get(user)) and user in seen:
            problems.say(pod.where, f"{container['name']}: has the user {user} of {seen[user]}")
        seen.setdefault(user, container["name"])


def volumes(pod, problems):
    """Each mount has its volume, each volume its mount and one source."""
    names = [volume["name"] for volume in pod.spec.get("volumes") or []]
    for volume in pod.spec.get("volumes") or []:
        if len(set(volume) - {"name"}) != 1:
            problems.say(pod.where, f"volume {volume['name']}: has {len(set(volume) - {'name'})} sources")
    if len(set(names)) < len(names):
        problems.say(pod.where, f"two volumes have one name: {names}")
    claimed = [claim["metadata"]["name"] for claim in (pod.each.get("spec") or {}).get("volumeClaimTemplates") or []]
    mounted = set()
    for container in pod.containers:
        paths = [mount["mountPath"] for mount in container.get("volumeMounts") or []]
        if len(set(paths)) < len(paths):
            problems.say(pod.where, f"{container['name']}: two mounts have one path: {paths}")
        for mount in container.get("volumeMounts") or []:
            mounted.add(mount["name"])
            if mount["name"] not in names + claimed:
                problems.say(pod.where, f"{container['name']}: there is no volume {mount['name']}")
    for name in names:
        if name not in mounted:
            problems.say(pod.where, f"nobody mounts the volume {name}")


def secrets(pod, problems):
    """Only the proxy has the secrets, and has them in the form in which they are replaced."""
    ours = {volume["name"] for volume in pod.spec.get("volumes") or [] if secret_names(volume)}
    for container in pod.containers:
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in ours:
                continue
            if container is not pod.proxy:
                problems.say(pod.where, f"{container['name']}: mounts the secret volume {mount['name']}")
            if "subPath" in mount or "subPathExpr" in mount:
                problems.say(pod.where, f"{container['name']}: a subPath of {mount['name']} is never replaced")
            if mount.get("readOnly") is not True:
                problems.say(pod.where, f"{container['name']}: {mount['name']} is not mounted readOnly")
        references = [(entry.get("valueFrom") or {}).get("secretKeyRef") for entry in container.get("env") or []]
        references += [entry.get("secretRef") for entry in container.get("envFrom") or []]
        for reference in filter(None, references):
            if reference["name"].startswith("innopaas"):
                problems.say(pod.where, f"{container['name']}: {reference['name']} in the environment is never replaced")


def secret_names(volume):
    """The secrets of ours that a volume holds, by whatever way."""
    names = [(volume.get("secret") or {}).get("secretName")]
    names += [(source.get("secret") or {}).get("name") for source in (volume.get("projected") or {}).get("sources") or []]
    names.append(((volume.get("csi") or {}).get("volumeAttributes") or {}).get("secretProviderClass"))
    return [name for name in names if name and name.startswith("innopaas")]


def ports(pod, problems):
    """Names that Kubernetes takes, numbers that two do not share, probes of what is there."""
    names = [port["name"] for container in pod.containers for port in container.get("ports") or [] if "name" in port]
    for name in names:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", name) or not re.search("[a-z]", name) or "--" in name:
            problems.say(pod.where, f"{name} is no name of a port")
    if len(set(names)) < len(names):
        problems.say(pod.where, f"two ports have one name: {names}")
    numbers = [(port["containerPort"], port.get("protocol", "TCP"))
               for container in pod.containers for port in container.get("ports") or []]
    if len(set(numbers)) < len(numbers):
        problems.say(pod.where, f"two containers have one port: {numbers}")
    for container in pod.containers:
        for action in actions(container):
            if probed(container, action) not in [None] + listed(container):
                problems.say(pod.where, f"{container['name']}: probes the port {probed(container, action)}, which it does not have")
            command = (action.get("exec") or {}).get("command")
            if command and container is pod.proxy and not runs(*command[:2]):
                problems.say(pod.where, f"the image has nothing to run {command} with")


def actions(container):
    """Its probes and hooks."""
    probes = [container.get(name) for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    return [action for action in probes + list((container.get("lifecycle") or {}).values()) if isinstance(action, dict)]


@functools.cache
def runs(path, word=""):
    """Whether the image, which holds nothing but the program, can run a command."""
    return path == "/innopaas-proxy" and program([word, "--help"], {})[0] == 0


def probed(container, action):
    """The number of the port that an action goes to; a name that is not found stays one."""
    port = (action.get("httpGet") or action.get("tcpSocket") or action.get("grpc") or {}).get("port")
    numbers = [each["containerPort"] for each in container.get("ports") or [] if port and each.get("name") == port]
    return numbers[0] if numbers else port


def listed(container):
    """The numbers of its ports."""
    return [port["containerPort"] for port in container.get("ports") or []]


# The proxy's settings


def settings(pod, objects, problems):
    """What the program makes of the container's arguments and environment, and what must agree with it."""
    pod.settings = configured(pod, objects, problems)
    if not pod.settings:
        return
    admin = split(pod.settings["admin"]["address"])
    receiver = split(pod.settings["webhook"]["listen"])
    listening = {port for host, port in [admin] + [receiver] * receives(pod) if reachable(host)}
    for port in listed(pod.proxy):
        if port not in listening:
            problems.say(pod.where, f"the proxy does not listen on port {port} of the pod's address")
    for port in listening - set(listed(pod.proxy)):
        problems.say(pod.where, f"the proxy listens on port {port}, which its ports do not say")
    for action in actions(pod.proxy):
        request = action.get("httpGet")
        if request and (probed(pod.proxy, action) != admin[1] or request.get("path") not in ("/livez", "/readyz", "/startupz")):
            problems.say(pod.where, f"a probe goes to {request.get('path')} of port {request.get('port')}")
    if receives(pod):
        targets = [route["to"] for route in pod.settings["webhook"]["routes"]] + [pod.settings["webhook"]["default"]]
        for target in targets:
            port = re.match(r"http://(?:127\.0\.0\.1|localhost|\[::1\]):(\d+)(/|$)", target)
            if port and not any(int(port[1]) in listed(container) for container in pod.applications()):
                problems.say(pod.where, f"events go to {target}, where no container listens")
    base_url(pod, problems)
    memory(pod, problems)
    grace(pod, problems)


def base_url(pod, problems):
    """The application is told where the proxy is."""
    address = pod.settings["listen"]["address"]
    wanted = f"http://{address}"
    if address.startswith("unix:") or not pod.applications():
        return
    told = [[entry.get("value") for entry in container.get("env") or [] if entry["name"] == "INNOPAAS_BASE_URL"]
            for container in pod.containers if container is not pod.proxy]
    if not any(told):
        problems.say(pod.where, "no container has INNOPAAS_BASE_URL")
    for value in sum(told, []):
        if value != wanted:
            problems.say(pod.where, f"INNOPAAS_BASE_URL is {value}, but the proxy listens at {wanted}")


def memory(pod, problems):
    """The limit holds whatever is sent: out of memory, the kernel kills the proxy and the calls in flight."""
    limit = ((pod.proxy.get("resources") or {}).get("limits") or {}).get("memory")
    calls = pod.settings["limits"]["connections"] if pod.applications() else 0
    webhooks = pod.settings["webhook"]["connections"] if receives(pod) else 0
    if limit and size(limit) < IDLE + calls * EACH + webhooks * EACH_WEBHOOK:
        problems.say(pod.where, f"{calls} calls and {webhooks} webhooks can take more than the limit of {limit}")


def receives(pod):
    """Whether it takes webhooks."""
    return bool(pod.settings["webhook"]["credentials"]) or pod.settings["webhook"]["verify"] == "none"


def size(text):
    """A quantity of memory in bytes."""
    number, unit = re.fullmatch(r"(\d+)([KMG]i)?", str(text)).groups()
    return int(number) * 1024 ** (("", "Ki", "Mi", "Gi").index(unit or ""))


def grace(pod, problems):
    """The proxy serves for as long as the application may need to end, and ends by itself."""
    minimum, maximum = (seconds(pod.settings["drain"][name]) for name in ("minimum", "maximum"))
    given = pod.spec.get("terminationGracePeriodSeconds", 30)
    if pod.native:
        # It is told to end when the application has ended.
        if given < APPLICATION + maximum:
            problems.say(pod.where, f"a grace period of {given} s is less than {APPLICATION} s for the application and {maximum:g} s of drain.maximum")
        return
    if given < maximum + CUT:
        problems.say(pod.where, f"a grace period of {given} s is less than drain.maximum {maximum:g} s and {CUT} s")
    if pod.alone():
        return
    # Both are told at the same time.
    if minimum < APPLICATION:
        problems.say(pod.where, f"drain.minimum {minimum:g} s is less than the application may need to end, {APPLICATION} s")
    if maximum < minimum + APPLICATION / 2:
        problems.say(pod.where, f"drain.maximum {maximum:g} s leaves calls no time after {minimum:g} s")


def configured(pod, objects, problems):
    """The settings that `check` prints for the container, with its files as far as they are known."""
    container = pod.proxy
    command = container.get("command") or ["/innopaas-proxy"]
    arguments = container.get("args") or []
    if command != ["/innopaas-proxy"] or arguments[:1] != ["run"]:
        problems.say(pod.where, f"the proxy is started with {command + arguments}")
        return None
    environment = {}
    for entry in container.get("env") or []:
        if "value" not in entry or "$(" in entry["value"]:
            problems.say(pod.where, f"{entry['name']} has no value that can be tried")
            return None
        environment[entry["name"]] = entry["value"]
    if container.get("envFrom"):
        problems.say(pod.where, "envFrom has no values that can be tried")
        return None
    names = [(volume.get("configMap") or {}).get("name") for volume in pod.spec.get("volumes") or []]
    maps = {each["metadata"]["name"]: each.get("data") or {}
            for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] in names}
    found, lines = _tried(json.dumps([arguments[1:], environment, container.get("volumeMounts") or [],
                                      pod.spec.get("volumes") or [], maps]))
    for line in lines:
        # Nothing is sent to InnoPaaS without an application, so there need not be a pair.
        if not (pod.alone() and (line == f"no volume is mounted at {CREDENTIALS}" or line.startswith("# credentials: none now"))):
            problems.say(pod.where, f"check: {line}")
    return found


@functools.cache
def _tried(text):
    """What the program prints for these arguments, environment, mounts, volumes and ConfigMaps, and what is wrong with it."""
    arguments, environment, mounts, volumes, maps = json.loads(text)
    paths = [mount["mountPath"] for mount in mounts]
    with tempfile.TemporaryDirectory() as root:
        for mount in mounts:
            volume = next((volume for volume in volumes if volume["name"] == mount["name"]), {})
            lay_out(volume, pathlib.Path(root + mount["mountPath"]), maps, lambda text: moved(text, paths, root))
        words = ["check"] + [moved(word, paths, root) for word in arguments]
        environment = {name: moved(value, paths, root) for name, value in environment.items()}
        status, output, warnings = program(words, environment)
        if not status and yaml.load(output, LOADER)["credentials"]["directory"] == CREDENTIALS and CREDENTIALS in paths:
            # Nobody wrote the default, so nobody moved it.
            status, output, warnings = program(words + ["--credentials", root + CREDENTIALS], environment)
        lines = [line.strip().replace(root, "") for line in warnings.splitlines()]
        if status:
            return None, lines + [f"exit code {status}"]
        found = yaml.load(output, LOADER)
        lines += [f"no volume is mounted at {path}" for path in files(found) if not path.startswith(root + "/")]
        lines += [line.replace(root, "") for line in re.findall(r"^# .*: none now.*", output, re.M) if ": previous: " not in line]
        # Its paths as the container has them.
        return yaml.load(output.replace(root, ""), LOADER), lines


def program(arguments, environment):
    """Runs it with nothing else in its environment."""
    done = subprocess.run([str(cases.BINARY)] + arguments, env=environment, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


def lay_out(volume, directory, maps, rewrite):
    """Writes what a mounted volume would hold."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in secret_names(volume):
        if not (volume.get("secret") or {}).get("optional"):
            for key in ("user-name" if "webhook" in name else "app-key", "authorization"):
                (directory / key).write_text(f"{name}-{key}")
    for key, text in maps.get((volume.get("configMap") or {}).get("name"), {}).items():
        (directory / key).write_text(rewrite(text))


def moved(text, paths, root):
    """The text with each mounted path below `root`."""
    if not paths:
        return text
    alternatives = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({alternatives})(?![\w.-])", lambda match: root + match[1], text)


def files(found):
    """The paths among the settings that must be mounted."""
    paths = [found["credentials"]["directory"], found["credentials"]["standby"]["directory"],
             found["credentials"]["fingerprint_key_file"], found["upstream"]["ca_file"], found["listen"]["caller_token_file"]]
    paths += list(found["listen"]["tls"].values()) + list(found["webhook"]["tls"].values())
    for entry in found["webhook"]["credentials"]:
        paths += [entry["current"], entry.get("previous") or ""]
    return [path for path in paths if path]


def split(address):
    """Host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def reachable(host):
    """Whether it is more than loopback."""
    return not ipaddress.ip_address(host).is_loopback


def seconds(text):
    """A duration as the program writes it."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", str(text)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


# What points to pods


def matching(selector, pods, namespace):
    """The pods of the namespace that a label selector means; all of them if it is empty."""
    return [pod for pod in pods if pod.namespace == namespace and selected(selector or {}, pod.labels)]


def selected(selector, labels):
    """Whether labels are those of a selector."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        value, values = labels.get(rule["key"]), rule.get("values") or []
        if not {"In": value in values, "NotIn": value not in values,
                "Exists": value is not None, "DoesNotExist": value is None}[rule["operator"]]:
            return False
    return True


def namespace_of(each):
    """Where an object is."""
    return each["metadata"].get("namespace", "")


def workload(each, objects, pods, problems):
    """The API refuses a selector that does not mean the template; the schema does not."""
    pod = next(pod for pod in pods if pod.each is each)
    if not selected(each["spec"]["selector"], pod.labels):
        problems.say(where(each), "its selector does not match its own pods")
    if PROXY in (each["spec"]["selector"].get("matchLabels") or {}):
        problems.say(where(each), f"the label {PROXY} is in its selector, which cannot be changed later")


def service(each, objects, pods, problems):
    """Its selector means pods that have its ports."""
    found = matching({"matchLabels": each["spec"].get("selector")}, pods, namespace_of(each))
    if not found or not each["spec"].get("selector"):
        problems.say(where(each), "its selector matches no pod")
    for port in each["spec"].get("ports") or []:
        target = port.get("targetPort", port["port"])
        for pod in found:
            if isinstance(target, str):
                # Named ports of init containers, native sidecars too, are not found by every version.
                named = [p["containerPort"] for c in pod.main for p in c.get("ports") or [] if p.get("name") == target]
                if not named:
                    problems.say(where(each), f"targetPort {target} is the name of no port of the containers of {pod.where}")
            elif target not in [number for container in pod.containers for number in listed(container)]:
                problems.say(where(each), f"no container of {pod.where} has the port {target}")


def ingress(each, objects, pods, problems):
    """Its backends are Services with that port, and its hosts are in its certificates."""
    services = {s["metadata"]["name"]: s for s in objects if s["kind"] == "Service" and namespace_of(s) == namespace_of(each)}
    paths = [path for rule in each["spec"].get("rules") or [] for path in rule["http"]["paths"]]
    backends = [path["backend"] for path in paths] + [each["spec"].get("defaultBackend")]
    for backend in filter(None, backends):
        name, port = backend["service"]["name"], backend["service"].get("port") or {}
        if name not in services:
            problems.say(where(each), f"there is no Service {name}")
        elif not any(port in ({"number": p["port"]}, {"name": p.get("name")}) for p in services[name]["spec"]["ports"]):
            problems.say(where(each), f"Service {name} has no port {port}")
    certified = {host for entry in each["spec"].get("tls") or [] for host in entry.get("hosts") or []}
    for rule in each["spec"].get("rules") or []:
        if rule.get("host") not in certified:
            problems.say(where(each), f"{rule.get('host')} is served without TLS")


def network_policy(each, objects, pods, problems):
    """It means pods, and opens ports that they have; what it opens to everywhere is public."""
    found = matching(each["spec"].get("podSelector"), pods, namespace_of(each))
    if not found:
        problems.say(where(each), "its podSelector matches no pod")
    numbers = {number for pod in found for container in pod.containers for number in listed(container)}
    for rule in each["spec"].get("ingress") or []:
        for port in rule.get("ports") or []:
            if isinstance(port.get("port"), str):
                problems.say(where(each), f"{port['port']}: a name of an init container's port is not found by every version")
            elif found and port.get("port") not in numbers:
                problems.say(where(each), f"no pod that it selects has the port {port.get('port')}")
    for rule in each["spec"].get("egress") or []:
        for peer in rule.get("to") or [{}]:
            block = peer.get("ipBlock") or ({} if peer else {"cidr": "0.0.0.0/0"})
            needed = {"0.0.0.0/0": PRIVATE, "::/0": PRIVATE_6}.get(block.get("cidr"), ())
            if set(needed) - set(block.get("except") or []):
                problems.say(where(each), f"egress to {', '.join(sorted(set(needed) - set(block.get('except') or [])))} is open")


def disruption_budget(each, objects, pods, problems):
    """It means pods, and lets a node be drained."""
    found = matching(each["spec"].get("selector"), pods, namespace_of(each))
    if not found:
        problems.say(where(each), "its selector matches no pod")
    replicas = sum(pod.each["spec"].get("replicas", 1) for pod in found)
    least, most = each["spec"].get("minAvailable"), each["spec"].get("maxUnavailable")
    if most in (0, "0%") or least == "100%" or (isinstance(least, int) and found and least >= replicas):
        problems.say(where(each), "no pod may ever be evicted, so no node can be drained")


def pod_monitor(each, objects, pods, problems):
    """It means pods, and asks a port that they have."""
    among = each["spec"].get("namespaceSelector") or {}
    names = among.get("matchNames") or [namespace_of(each)]
    found = [pod for pod in pods if (among.get("any") or pod.namespace in names) and selected(each["spec"]["selector"], pod.labels)]
    if not found:
        problems.say(where(each), "its selector matches no pod")
    for pod in found:
        known = [port for container in pod.containers for port in container.get("ports") or []]
        for endpoint in each["spec"]["podMetricsEndpoints"]:
            if not any(port.get("name") == endpoint.get("port") or port["containerPort"] == endpoint.get("portNumber") for port in known):
                problems.say(where(each), f"{pod.where} has no port {endpoint.get('port', endpoint.get('portNumber'))}")


OBJECTS = {
    "Deployment": workload,
    "StatefulSet": workload,
    "DaemonSet": workload,
    "Service": service,
    "Ingress": ingress,
    "NetworkPolicy": network_policy,
    "PodDisruptionBudget": disruption_budget,
    "PodMonitor": pod_monitor,
}


def isolation(objects, pods, problems):
    """Policies add up: where one closes a pod, what the pod needs must be open by one of them."""
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    for pod in pods:
        over = [each["spec"] for each in policies if pod in matching(each["spec"].get("podSelector"), pods, namespace_of(each))]
        if any("Ingress" in spec["policyTypes"] for spec in over):
            for name, port in wanted(pod, objects, pods):
                if not opened(over, "ingress", port, "TCP"):
                    problems.say(pod.where, f"{name} wants the port {port}, which no NetworkPolicy opens")
        if pod.proxy and not pod.alone() and any("Egress" in spec["policyTypes"] for spec in over):
            for port, protocol in ((443, "TCP"), (53, "UDP"), (53, "TCP")):
                if not opened(over, "egress", port, protocol):
                    problems.say(pod.where, f"no NetworkPolicy lets it out to port {port} by {protocol}")


def wanted(pod, objects, pods):
    """Who comes to which port of a pod."""
    for each in objects:
        if each["kind"] == "Service" and pod in matching({"matchLabels": each["spec"].get("selector")}, pods, namespace_of(each)):
            for port in each["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                named = [p["containerPort"] for c in pod.containers for p in c.get("ports") or [] if p.get("name") == target]
                yield where(each), named[0] if named else target
        if each["kind"] == "PodMonitor" and pod.proxy and pod.settings:
            yield where(each), split(pod.settings["admin"]["address"])[1]


def opened(policies, way, port, protocol):
    """Whether one of the policies opens a port to anybody."""
    for spec in policies:
        for rule in spec.get(way) or []:
            if not rule.get("ports"):
                return True
            for each in rule["ports"]:
                if each.get("protocol", "TCP") == protocol and each.get("port") in (None, port):
                    return True
    return False


def classes(objects, pods, problems):
    """Volumes of the CSI driver name a class that is there; secrets made by an operator are wanted."""
    for pod in pods:
        for volume in pod.spec.get("volumes") or []:
            name = ((volume.get("csi") or {}).get("volumeAttributes") or {}).get("secretProviderClass")
            if name and not any(each["kind"] == "SecretProviderClass" and each["metadata"]["name"] == name
                                and namespace_of(each) == pod.namespace for each in objects):
                problems.say(pod.where, f"there is no SecretProviderClass {name}")
    held = {name for pod in pods for volume in pod.spec.get("volumes") or [] for name in secret_names(volume)}
    for each in objects:
        if each["kind"] == "ExternalSecret" and (each["spec"].get("target") or {}).get("name", each["metadata"]["name"]) not in held:
            problems.say(where(each), "no pod mounts the Secret that it makes")
