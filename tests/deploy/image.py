"""The image: what is in it, what it may do, and whether names and certificates work inside."""

import concurrent.futures
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time
import tomllib

from cases import BINARY, ROOT, Cases, eventually, install
from containers import HARDENED, IMAGE, PACKAGES, Podman, build_image
from kubelet import Volume

HERE = pathlib.Path(__file__).resolve().parent
NAME = "api.innopaas.test"
PAIR = {"app-key": "an-app-key", "authorization": "a-token-of-32-bytes-0123456789ab"}


def main():
    """Runs the cases."""
    install(PACKAGES)
    podman, cases = Podman(), Cases()
    try:
        cases.run("the program needs nothing of its machine and is small", is_static)
        cases.run("built twice it is the same image", same_twice, podman)
        build_image(podman, "-t", IMAGE)
        cases.run("it says what it is, and starts nobody as root", describes_itself, podman)
        cases.run("there is one file in it", holds_one_file, podman)
        cases.run("it runs hardened, is healthy, and ends with 0", runs_hardened, podman)
        with upstream(podman) as namespace:
            for name, case in IN_A_NAMESPACE.items():
                cases.run(name, case, podman, namespace)
    finally:
        podman.remove()
    cases.end()


def is_static():
    """No interpreter, no shared library; what the documents call 7 MB."""
    headers = subprocess.run(["readelf", "-lW", BINARY], check=True, text=True, capture_output=True).stdout
    assert "INTERP" not in headers, "it asks for a dynamic linker"
    dynamic = subprocess.run(["readelf", "-dW", BINARY], check=True, text=True, capture_output=True).stdout
    assert "NEEDED" not in dynamic, "it asks for a shared library"
    size = BINARY.stat().st_size
    assert size < 7_500_000, size
    return f"{size:,} bytes"


def same_twice(podman):
    """In the form of the OCI; that of Docker names an intermediate image, which is a random one."""
    one, two = (build_image(podman, form="oci") for _ in range(2))
    assert one == two, f"{one} and {two}"
    return one


def describes_itself(podman):
    """Everything but the program comes from the Dockerfile's own words."""
    image = json.loads(podman("image", "inspect", IMAGE))[0]
    config = image["Config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/innopaas-proxy"], config
    assert config["Cmd"] == ["run"] and config.get("Volumes") is None, config
    assert image["Healthcheck"]["Test"] == ["CMD", "/innopaas-proxy", "health"], image["Healthcheck"]
    assert "RES_OPTIONS=timeout:1 ndots:1" in config["Env"], config["Env"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    label = image["Labels"]["org.opencontainers.image.version"]
    said = podman("run", "--rm", "--network", "none", *HARDENED, IMAGE, "--version")
    assert said == f"innopaas-proxy {label}" == f"innopaas-proxy {version}", (said, label, version)
    return f"{image['Size']:,} bytes"


def holds_one_file(podman):
    """No shell, no package, nothing to go on with for whoever gets in."""
    container = podman("create", "--network", "none", IMAGE)
    tar = podman.folder / "image.tar"
    podman("export", "-o", tar, container)
    podman("rm", container)
    names = subprocess.run(["tar", "-tvf", tar], check=True, text=True, capture_output=True).stdout
    # The empty directories that a runtime makes to mount into are not of the image.
    files = [line for line in names.splitlines() if line.startswith("-") and " 0 " not in line]
    assert [line.split()[-1] for line in files] == ["innopaas-proxy"], names
    assert files[0].startswith("-r-xr-xr-x"), files


def runs_hardened(podman):
    """With a pair it is ready, without one it lives all the same; SIGTERM ends it cleanly."""
    secrets = Volume(podman.folder / "pair", PAIR)
    with running(podman, mount(secrets)) as container:
        eventually(lambda: podman("exec", container, "/innopaas-proxy", "health", "readyz"))
        podman("healthcheck", "run", container)
        assert podman("exec", container, "/innopaas-proxy", "wait") == ""
        state = podman.inspect(container)
        assert state["HostConfig"]["ReadonlyRootfs"] and not state["EffectiveCaps"], state["EffectiveCaps"]
        memory = peak_of(state["State"]["Pid"])
        began = time.monotonic()
        podman("stop", "-t", "40", container)
        took = time.monotonic() - began
        assert exit_code(podman, container) == 0, podman("logs", container)
    assert took < 10, f"{took:.1f} s although nothing was in flight"
    with running(podman, []) as container:
        eventually(lambda: podman("healthcheck", "run", container) == "")
        refused = podman("exec", container, "/innopaas-proxy", "health", "readyz", check=False)
        assert refused == "", "ready without a pair"
        podman("kill", "-s", "TERM", container)
        assert podman("wait", container) == "0"
    return f"peak of memory {memory}"


def resolves_and_verifies(podman, namespace):
    """A name from the pod's name server; a certificate against the authority that is mounted."""
    authority = ["-v", f"{namespace.folder}/ca.pem:/etc/innopaas/ca.pem:ro"]
    setting = ["-e", "INNOPAAS_PROXY_UPSTREAM__CA_FILE=/etc/innopaas/ca.pem"]
    status, body = namespace.call(podman, [*authority, *setting])
    assert (status, body.get("seen")) == (200, PAIR), (status, body)
    asked = re.findall(r"query\[(A+)\] (\S+)", namespace.queries())
    assert sorted(asked) == [("A", NAME), ("AAAA", NAME)], asked


def asks_again_when_an_answer_is_lost(podman, namespace):
    """Within the deadline for names, which is two seconds."""
    rule = ["INPUT", "-p", "udp", "--dport", "53", "-j", "DROP"]

    def lost():
        return re.search(r"^ *[1-9]\d* .* DROP ", inside(namespace.pid, "iptables", "-nvxL", "INPUT"), re.M)

    def heal():
        eventually(lost)
        inside(namespace.pid, "iptables", "-D", *rule)

    options = ["-v", f"{namespace.folder}/ca.pem:/etc/ssl/certs/ca-certificates.crt:ro"]
    inside(namespace.pid, "iptables", "-I", *rule)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        healed = pool.submit(heal)
        status, body = namespace.call(podman, options)
        healed.result()  # raises if nothing was lost
    assert (status, body.get("seen")) == (200, PAIR), (status, body)


def takes_the_roots_of_the_platform(podman, namespace):
    """As a base image, or whoever mounts them, has them."""
    roots = ["-v", f"{namespace.folder}/ca.pem:/etc/ssl/certs/ca-certificates.crt:ro"]
    status, body = namespace.call(podman, roots)
    assert (status, body.get("seen")) == (200, PAIR), (status, body)


def verifies_against_the_compiled_in_roots(podman, namespace):
    """Nothing is mounted: a certificate of an authority that no browser trusts is none."""
    said = podman("run", "--rm", "--network", "none", *HARDENED, IMAGE, "check")
    assert "# trusted authorities: compiled in" in said, said[-400:]
    before = namespace.seen()
    status, body = namespace.call(podman, [])
    assert (status, body["code"], body["sent"]) == (502, "certificate_refused", "no"), (status, body)
    assert namespace.seen() == before, "the upstream saw something of the call"


def says_that_a_name_is_none(podman, namespace):
    """The name server's word is passed on, and nothing is guessed."""
    status, body = namespace.call(podman, [], name="nobody.innopaas.test")
    assert (status, body["code"], body["sent"]) == (502, "resolve_failed", "no"), (status, body)


def finds_names_in_the_hosts_file(podman, namespace):
    """`hostAliases` of a pod end up there."""
    options = ["-v", f"{namespace.folder}/ca.pem:/etc/ssl/certs/ca-certificates.crt:ro"]
    hosts = podman.folder / "hosts"
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    asked = namespace.queries().count(NAME)
    status, body = namespace.call(podman, [*options, "-v", f"{hosts}:/etc/hosts:ro"])
    assert (status, body.get("seen")) == (200, PAIR), (status, body)
    assert namespace.queries().count(NAME) == asked, "the name server was asked"


IN_A_NAMESPACE = {
    "a name resolves by DNS and TLS verifies against a mounted authority": resolves_and_verifies,
    "it asks again for a name whose answer was lost": asks_again_when_an_answer_is_lost,
    "it takes the platform's roots where there are some": takes_the_roots_of_the_platform,
    "without any it verifies against the compiled-in ones": verifies_against_the_compiled_in_roots,
    "a name that the name server does not know is told": says_that_a_name_is_none,
    "it reads the hosts file": finds_names_in_the_hosts_file,
}


class Namespace:
    """A network of its own with a name server and a TLS upstream that looks at each header."""

    def __init__(self, folder, pod, pid):
        self.folder, self.pod, self.pid = folder, pod, pid

    def call(self, podman, options, name=NAME):
        """One call through a proxy in this network: the status and the body of its answer."""
        secrets = mount(Volume(podman.folder / f"pair-{time.monotonic_ns()}", PAIR))
        origin = ["-e", f"INNOPAAS_PROXY_UPSTREAM__ORIGIN=https://{name}:8443"]
        allow = ["-e", "INNOPAAS_PROXY_UPSTREAM__ALLOW_PRIVATE=127.0.0.0/8"]
        resolver = ["-v", f"{self.folder}/resolv.conf:/etc/resolv.conf:ro"]
        with running(podman, [*secrets, *origin, *allow, *resolver, *options], ["--pod", self.pod]) as container:
            podman("exec", container, "/innopaas-proxy", "wait", "--timeout", "20s")
            script = (
                "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 7253, timeout=20);"
                "c.request('POST', '/api/sms/v3/msg/send', '{}', {'Content-Type': 'application/json'});"
                "r = c.getresponse(); print(r.status); print(r.read().decode())"
            )
            status, body = inside(self.pid, sys.executable, "-c", script).split("\n", 1)
            podman("stop", "-t", "40", container)
            assert exit_code(podman, container) == 0, podman("logs", container)
        return int(status), json.loads(body)

    def queries(self):
        """What the name server was asked."""
        return (self.folder / "dnsmasq.log").read_text()

    def seen(self):
        """How many requests the upstream has seen."""
        return (self.folder / "seen").read_text().count("\n")


@contextlib.contextmanager
def upstream(podman):
    """The namespace; what serves in it ends with it."""
    folder = podman.folder / "namespace"
    folder.mkdir(mode=0o755)
    certificates(folder)
    # As the kubelet writes it: with five dots wanted, the suffixes would be tried before the name.
    suffixes = "shop.svc.cluster.local svc.cluster.local cluster.local"
    (folder / "resolv.conf").write_text(f"search {suffixes}\nnameserver 127.0.0.1\noptions ndots:5\n")
    (folder / "seen").write_text("")
    pod = podman("pod", "create", "--network", "none", "--share", "net")
    podman("pod", "start", pod)
    infra = podman("pod", "inspect", pod, "--format", "{{.InfraContainerID}}")
    pid = podman.inspect(infra)["State"]["Pid"]
    log = folder / "dnsmasq.log"
    # Only the names below are known, and no other server is asked.
    dns = ["dnsmasq", "-k", "-p", "53", "-R", "-h", "-a", "127.0.0.1", "--bind-interfaces", "-u", "root",
           "--log-queries", f"--log-facility={log}", f"--address=/{NAME}/127.0.0.1", "--pid-file="]
    servers = [
        subprocess.Popen(["nsenter", "-t", str(pid), "-n", *command], stdout=subprocess.DEVNULL)
        for command in (dns, [sys.executable, "-B", HERE / "upstream.py", folder])
    ]
    try:
        eventually(lambda: (folder / "listening").exists())
        eventually(lambda: "started" in log.read_text())
        yield Namespace(folder, pod, pid)
    finally:
        for server in servers:
            server.terminate()
            server.wait()
        podman("pod", "rm", "-f", pod)


def certificates(folder):
    """An authority, and a certificate of its for the name."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={NAME}")
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.pem", "-days", "2", "-extfile", "names")


@contextlib.contextmanager
def running(podman, options, network=("--network", "none")):
    """A hardened container of the image, removed in the end."""
    container = podman("run", "-d", *network, *HARDENED, *options, IMAGE)
    try:
        yield container
    finally:
        podman("rm", "-f", "-t", "0", container)


def mount(volume):
    """The options that mount it where the program looks for the pair."""
    return ["-v", f"{volume.path}:/var/run/secrets/innopaas:ro"]


def inside(pid, *command):
    """What a command of this machine prints in the network of that process."""
    command = ["nsenter", "-t", str(pid), "-n", *command]
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=60).stdout


def exit_code(podman, container):
    """Of a container that has ended."""
    return podman.inspect(container)["State"]["ExitCode"]


def peak_of(pid):
    """The most memory that the group of that process ever had, in words."""
    groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    paths = {line.split(":")[1]: line.split(":")[2].lstrip("/") for line in groups}
    if "memory" in paths:
        file = pathlib.Path("/sys/fs/cgroup/memory", paths["memory"], "memory.max_usage_in_bytes")
    else:
        file = pathlib.Path("/sys/fs/cgroup", paths[""], "memory.peak")
    if not file.exists():
        return "unknown"
    return f"{int(file.read_text()) / 2**20:.1f} MiB"


if __name__ == "__main__":
    main()
