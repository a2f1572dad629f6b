"""The pod of the README, played: application, sidecar and sandbox, under load while tokens change.

podman knows no native sidecars and no swapped Secrets, and makes shell commands of probes. So what is
played is made from deploy/kubernetes/pod.yaml: the sidecar stands among the containers, its Secret is a
folder laid out and swapped as the kubelet does it, nothing probes, and no port is published. Everything
else is as shipped.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import yaml

from cases import DEPLOY, Cases, eventually, install
from containers import APPLICATION, IMAGE, PACKAGES, RUN, Podman, build_application, build_image
from image import exit_code, inside, peak_of
from kubelet import Volume

HERE = pathlib.Path(__file__).resolve().parent
POD = f"shop-{RUN}"
SANDBOX = "https://localhost:7256"
CONNECTIONS, ROTATIONS = 16, 20

# The application's first act, made the moment that its container has started.
FIRST_CALL = (
    "wget -q -O - --header 'Content-Type: application/json' --post-data '{\"mobile\":\"1\",\"msg\":\"first\"}'"
    " $INNOPAAS_BASE_URL/api/sms/v3/msg/send; echo; echo \"wget: $?\"; exec sleep 3600"
)


def main():
    """Runs the cases."""
    install(PACKAGES)
    podman, cases = Podman(), Cases()
    try:
        build_image(podman, "-t", IMAGE)
        build_application(podman)
        shop = Shop(podman)
        try:
            shop.create()
            cases.run("the application's first call waits for the proxy and succeeds", first_call, shop)
            cases.run("it is as locked in as it is shipped", is_locked_in, shop)
            cases.run("without waiting, it would have failed", first_call_at_once, shop)
            cases.run("the application sees no credential", sees_nothing, shop)
            cases.run("tokens change under load, and no call fails", rotations, shop)
            cases.run("more large calls at a time than its memory could hold: they wait, and none is lost", is_bounded, shop)
            cases.run("the end of the sidecar under load: calls in flight are finished, exit code 0", drains, shop)
        finally:
            shop.remove()
    finally:
        podman.remove()
    cases.end()


def first_call(shop):
    """The application starts first, the proxy when there is already somebody waiting."""
    shop.begin()
    shop.start("shop")
    eventually(lambda: "not ready yet" in shop.logs("shop"))
    shop.start("innopaas-proxy")
    eventually(lambda: "wget:" in shop.logs("shop"))
    words = shop.logs("shop")
    assert '"success":true' in words and "wget: 0" in words, words
    calls = shop.sandbox("GET", "calls")
    assert calls["accepted"] == 1 and calls["refused"] == 0, calls


def is_locked_in(shop):
    """What podman made of the shipped security context."""
    state = shop.podman.inspect(shop.name("innopaas-proxy"))
    host = state["HostConfig"]
    assert host["ReadonlyRootfs"] and not state["EffectiveCaps"] and not state["BoundingCaps"], host
    assert state["Config"]["User"] == "65532:65532" and host["Memory"] == 64 * 2**20, host["Memory"]
    status = pathlib.Path(f"/proc/{state['State']['Pid']}/status").read_text()
    assert "NoNewPrivs:\t1" in status, status
    assert "Seccomp:\t2" in status, status


def first_call_at_once(shop):
    """The control: the same call, made while there is no proxy."""
    shop.podman("stop", "-t", "40", shop.name("innopaas-proxy"))
    script = "wget -q -O - --header 'Content-Type: application/json' --post-data '{}' $INNOPAAS_BASE_URL/api/sms/v3/msg/send"
    done = subprocess.run(
        ["podman", "exec", shop.name("shop"), "sh", "-c", script],
        env=shop.podman.environment, capture_output=True, text=True,
    )
    assert done.returncode != 0 and "refused" in done.stderr, done.stderr
    shop.start("innopaas-proxy")
    shop.podman("exec", shop.name("shop"), "/innopaas-proxy", "wait")


def sees_nothing(shop):
    """Neither a file nor its environment."""
    environment = shop.podman("exec", shop.name("shop"), "busybox", "env")
    assert "INNOPAAS_BASE_URL=http://127.0.0.1:7253" in environment, environment
    secret = shop.pair["authorization"]
    assert secret not in environment and secret not in shop.logs("shop") + shop.logs("innopaas-proxy")
    folder = shop.podman("exec", shop.name("shop"), "busybox", "find", "/var", "/run", check=False)
    assert "app-key" not in folder and "authorization" not in folder, folder


def rotations(shop):
    """The button is pressed, the old token is dead; a moment later the kubelet swaps the files."""
    shop.sandbox("POST", "reset-counts")
    with shop.load() as ended:
        for _ in range(ROTATIONS):
            time.sleep(0.2)
            pair = shop.sandbox("POST", "token")
            time.sleep(0.2)
            shop.pair = {"app-key": pair["appKey"], "authorization": pair["authorization"]}
            shop.secrets.swap(shop.pair)
        eventually(lambda: f"generation {1 + ROTATIONS} is in use" in shop.readiness())
    answers, slowest = ended["answers"], ended["slowest_ms"]
    calls = shop.sandbox("GET", "calls")
    assert set(answers) == {"200"}, answers
    assert calls["accepted"] == answers["200"] and not calls["duplicates"] and not calls["mixed"], calls
    # It must have been hard: each change met calls with the old token.
    assert calls["refused"] >= ROTATIONS, calls
    memory = peak_of(shop.podman.inspect(shop.name("innopaas-proxy"))["State"]["Pid"])
    return (
        f"{ROTATIONS} tokens, {answers['200']} calls, {calls['refused']} refused on the way,"
        f" 0 failed, 0 duplicates, slowest {slowest} ms, peak of memory {memory}"
    )


def is_bounded(shop):
    """Twice as many connections as there are places, with bodies that fill what is kept of each."""
    shop.sandbox("POST", "act", {"act": {"slow-head": {"ms": 500}}})
    shop.sandbox("POST", "reset-counts")
    with shop.load(400, 65_000) as ended:
        eventually(lambda: shop.sandbox("GET", "calls")["accepted"] >= 1000, 120)
    shop.sandbox("POST", "act", {"act": "normal"})
    assert set(ended["answers"]) == {"200"}, ended
    state = shop.podman.inspect(shop.name("innopaas-proxy"))
    assert state["State"]["Running"] and state["RestartCount"] == 0, state["State"]
    return f"{ended['answers']['200']} calls, peak of memory {peak_of(state['State']['Pid'])} of 64"


def drains(shop):
    """Calls are under way at SIGTERM and take two seconds more."""
    shop.sandbox("POST", "act", {"act": {"slow-head": {"ms": 2000}}})
    shop.sandbox("POST", "reset-counts")
    script = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1', 7253, timeout=20);"
        "c.request('POST', '/api/sms/v3/msg/send', '{\"mobile\":\"1\",\"msg\":\"%d\"}', {'Content-Type': 'application/json'});"
        "print(c.getresponse().status)"
    )
    command = ["nsenter", "-t", str(shop.pid), "-n", sys.executable, "-c"]
    calls = [
        subprocess.Popen([*command, script % number], stdout=subprocess.PIPE, text=True) for number in range(8)
    ]
    eventually(lambda: shop.metric("innopaas_proxy_requests_in_flight") == 8)
    began = time.monotonic()
    shop.podman("stop", "-t", "60", shop.name("innopaas-proxy"))
    took = time.monotonic() - began
    answers = [call.communicate(timeout=30)[0].strip() for call in calls]
    assert answers == ["200"] * 8, answers
    code = exit_code(shop.podman, shop.name("innopaas-proxy"))
    assert code == 0, shop.logs("innopaas-proxy")[-500:]
    return f"8 of 8 calls answered, exit code {code} after {took:.1f} s"


class Shop:
    """The pod, created and not started: each case starts what it needs."""

    def __init__(self, podman, memory=None):
        self.podman, self.pair, self.secrets = podman, None, None
        folder = pathlib.Path(tempfile.mkdtemp(dir=podman.folder))
        folder.chmod(0o755)
        self.written, self.folder = folder / "written", folder / "secrets"
        self.written.mkdir()
        self.written.chmod(0o777)
        self.folder.mkdir()
        self.manifest = folder / "pod.yaml"
        self.manifest.write_text(yaml.safe_dump(playable(self.folder, self.written, memory)))
        self.pid = None

    def create(self):
        """The pod with its containers, none of which is started."""
        self.podman("kube", "play", "--network", "none", "--start=false", self.manifest)

    def name(self, container):
        """As podman calls it."""
        return f"{POD}-{container}"

    def start(self, container):
        """Starts one container, and the pod's own one before it."""
        self.podman("start", self.name(container))
        infra = self.podman("pod", "inspect", POD, "--format", "{{.InfraContainerID}}")
        self.pid = self.podman.inspect(infra)["State"]["Pid"]

    def begin(self):
        """The sandbox, and with what it wrote what the kubelet does before it starts the others."""
        self.start("sandbox")
        last = self.written / "standby/authorization"
        eventually(lambda: last.exists() and last.read_text())

        def read(folder):
            return {name: (folder / name).read_text() for name in ["app-key", "authorization"]}

        self.pair = read(self.written)
        self.secrets = Volume(self.folder / "innopaas", self.pair)
        Volume(self.folder / "innopaas-standby", read(self.written / "standby"))

    def readiness(self):
        """What the proxy says of itself when it is ready."""
        return self.podman("exec", self.name("innopaas-proxy"), "/innopaas-proxy", "health", "readyz")

    def logs(self, container):
        """All that it said."""
        return self.podman("logs", self.name(container)) + subprocess.run(
            ["podman", "logs", self.name(container)], env=self.podman.environment, capture_output=True, text=True
        ).stderr

    def sandbox(self, method, path, body=None):
        """The sandbox's control: the test is InnoPaaS's console here."""
        script = (
            "import http.client, ssl, sys; c = http.client.HTTPSConnection('localhost', 7256,"
            " context=ssl.create_default_context(cafile=sys.argv[1]));"
            "c.request(sys.argv[2], sys.argv[3], sys.argv[4]); r = c.getresponse(); t = r.read().decode();"
            "assert r.status == 200, t; print(t)"
        )
        arguments = [self.written / "ca.pem", method, f"/_sandbox/{path}", json.dumps(body) if body else ""]
        said = inside(self.pid, sys.executable, "-c", script, *map(str, arguments))
        return json.loads(said) if said.strip() else None

    def metric(self, name):
        """Its value now."""
        script = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:7255/metrics').read().decode())"
        lines = inside(self.pid, sys.executable, "-c", script).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    @contextlib.contextmanager
    def load(self, connections=CONNECTIONS, size=0):
        """Calls without a pause as long as it is open; what came of them is there after it."""
        command = ["nsenter", "-t", str(self.pid), "-n", sys.executable, "-B", HERE / "load.py"]
        process = subprocess.Popen(
            [*command, "http://127.0.0.1:7253", str(connections), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        ended = {}
        try:
            yield ended
        finally:
            ended.update(json.loads(process.communicate(timeout=120)[0]))

    def remove(self):
        """The pod with all its containers."""
        self.podman("pod", "rm", "-f", "-t", "0", POD, check=False)


def playable(secrets, written, memory=None):
    """The shipped pod, in a form that podman can play; with a sandbox in InnoPaaS's place, and perhaps with
    another limit of the sidecar's memory, and as many connections as there are by default."""
    pod = yaml.safe_load((DEPLOY / "kubernetes/pod.yaml").read_text())
    pod["metadata"]["name"] = POD
    spec = pod["spec"]
    (proxy,), (shop,) = spec.pop("initContainers"), spec["containers"]
    del proxy["restartPolicy"]
    for word in ["startupProbe", "readinessProbe", "livenessProbe", "ports"]:
        del proxy[word]
    proxy["image"], shop["image"] = IMAGE, APPLICATION
    if memory:
        proxy["resources"]["limits"]["memory"] = memory
        proxy["env"] = [each for each in proxy["env"] if "LIMITS__CONNECTIONS" not in each["name"]]
    proxy["env"] += environment(
        INNOPAAS_PROXY_UPSTREAM__ORIGIN=SANDBOX,
        INNOPAAS_PROXY_UPSTREAM__CA_FILE="/etc/innopaas/ca.pem",
        INNOPAAS_PROXY_UPSTREAM__ALLOW_PRIVATE="127.0.0.0/8,::1/128",
        INNOPAAS_PROXY_CREDENTIALS__STANDBY__DIRECTORY="/var/run/secrets/innopaas-standby",
    )
    proxy["volumeMounts"] += [
        {"name": "innopaas-standby", "mountPath": "/var/run/secrets/innopaas-standby", "readOnly": True},
        {"name": "sandbox", "mountPath": "/etc/innopaas", "readOnly": True},
    ]
    shop["command"] = ["/innopaas-proxy", "wait", "--", "sh", "-c", FIRST_CALL]
    sandbox = {
        "name": "sandbox",
        "image": IMAGE,
        "args": ["sandbox", "--write", "/written"],
        "volumeMounts": [{"name": "sandbox", "mountPath": "/written"}],
        "securityContext": {**proxy["securityContext"], "runAsUser": 65531, "runAsGroup": 65531},
    }
    spec["containers"] = [sandbox, shop, proxy]
    folder = {"type": "DirectoryOrCreate"}
    spec["volumes"] = [
        {"name": "innopaas", "hostPath": {"path": str(secrets / "innopaas"), **folder}},
        {"name": "innopaas-standby", "hostPath": {"path": str(secrets / "innopaas-standby"), **folder}},
        {"name": "sandbox", "hostPath": {"path": str(written), **folder}},
    ]
    spec["restartPolicy"] = "Never"
    return pod


def environment(**variables):
    """As a container's `env` has it."""
    return [{"name": name, "value": value} for name, value in variables.items()]


if __name__ == "__main__":
    main()
