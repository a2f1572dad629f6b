"""deploy/systemd: read by systemd's own tools, and run by a systemd that is booted for it.

The booted host is a container of systemd-nspawn with this machine's /usr, an empty /etc and a network
of its own, in which there is nothing but loopback: nothing is downloaded but, once, the Debian package
`systemd-container`. It needs root. The sandbox stands in for InnoPaaS.
"""

import concurrent.futures
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time

from cases import BINARY, DEPLOY, Cases, eventually, install, run

UNITS = DEPLOY / "systemd"
UNIT = UNITS / "innopaas-proxy.service"
DROP_INS = UNITS / "innopaas-proxy.service.d"
SEND = "/api/sms/v3/msg/send"
# 1.1 of 10; systemd wants whole tenths. What is left is the network and what comes with it.
EXPOSURE = 11

# Each of these is a promise of deploy/README.md or of the comments in the unit.
HARDENED = {
    "DynamicUser": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "NoNewPrivileges": "yes",
    "ProtectSystem": "strict", "MemoryDenyWriteExecute": "yes", "PrivateDevices": "yes", "UMask": "0077",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "SystemCallArchitectures": "native",
    "LimitCORE": "0", "MemorySwapMax": "0", "MemoryMax": "64M", "RestartPreventExitStatus": "64",
    "Restart": "always",
}


def directives(path):
    """Section, name and value of every line."""
    section = None
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, value = line.split("=", 1)
            yield section, name, value


def values(path, wanted):
    return [value for _, name, value in directives(path) if name == wanted]


def seconds(text):
    return int(re.fullmatch(r"(\d+)s?", text)[1])


# --- What can be said without running it


def it_is_hardened():
    for name, value in HARDENED.items():
        assert values(UNIT, name) == [value], f"{name}={values(UNIT, name)}, not {value!r}"
    assert values(UNIT, "SystemCallFilter") == ["@system-service", "~@privileged @resources"]
    service = {name for path in DROP_INS.iterdir() for _, name, _ in directives(path)}
    assert service <= {"LoadCredential", "Environment", "SupplementaryGroups"}, f"a drop-in sets {service}"


def the_names_are_those_of_the_program():
    """An unknown name in the environment is a warning, which `check` prints."""
    for path in [UNIT, *sorted(DROP_INS.iterdir())]:
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory, "callers").write_text("0123456789abcdef0123456789abcdef\n")
            pairs = [value.replace("%d", directory).split("=", 1) for value in values(path, "Environment")]
            assert pairs, f"{path.name} sets nothing"
            done = subprocess.run([BINARY, "check"], env=dict(pairs), capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, f"{path.name}: {done.stderr}"
        for name, value in pairs:
            assert name == "RES_OPTIONS" or value in done.stdout, f"{path.name}: `check` does not show {value}"


def the_drain_fits():
    told = run(BINARY, "check", env={})
    drain = seconds(re.search(r"^drain:\n(?:  .*\n)*?  maximum: (\w+)", told, re.M)[1])
    stop = seconds(values(UNIT, "TimeoutStopSec")[0])
    assert stop >= drain + 3, f"TimeoutStopSec={stop}, and drain.maximum is {drain} s"
    wait = seconds(re.search(r"--timeout (\S+)", values(UNIT, "ExecStartPost")[0])[1])
    assert seconds(values(UNIT, "TimeoutStartSec")[0]) > wait, "it is killed while it waits"
    return f"{stop} s for {drain} s"


def it_is_little_exposed():
    told = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", UNIT)
    return re.search(r"Overall exposure level.*?: (.*?) ", told)[1] + " of 10"


def a_pair_is_replaced_in_one_step():
    with tempfile.TemporaryDirectory() as scratch:
        new, directory = pathlib.Path(scratch, "new"), pathlib.Path(scratch, "innopaas")
        new.mkdir()
        directory.mkdir()
        (directory / "app-key").write_text("plain")
        os.chown(directory, 0, 4711)
        for app_key, expires in (("first", "2027-01-01"), ("second", None)):
            (new / "app-key").write_text(app_key)
            (new / "authorization").write_text(f"token of {app_key}")
            if expires:
                (new / "expires-at").write_text(expires)
            else:
                (new / "expires-at").unlink()
            run(UNITS / "replace-pair", "new", "innopaas", cwd=scratch)
            file = directory / "app-key"
            assert file.read_text() == app_key and (directory / "..data" / "app-key").samefile(file)
            assert (file.stat().st_gid, file.stat().st_mode & 0o777) == (4711, 0o640), "whose it is"
            assert (directory / "expires-at").is_file() == bool(expires)
        gaps, over = [], threading.Event()

        def look():
            while not over.is_set():
                try:
                    os.readlink(directory / "..data")
                except FileNotFoundError as gap:
                    gaps.append(gap)

        watching = threading.Thread(target=look)
        watching.start()
        for _ in range(20):
            run(UNITS / "replace-pair", new, directory)
        over.set()
        watching.join()
        assert not gaps, "there was no pair for a moment"
        (new / "authorization").unlink()
        assert subprocess.run([UNITS / "replace-pair", new, directory], capture_output=True).returncode != 0
        assert (directory / "authorization").read_text() == "token of second", "half a pair was taken"
        assert len([name for name in os.listdir(directory) if name[:2] == ".."]) == 2, os.listdir(directory)


# --- A host with a systemd


class Host:
    """Boots it, and answers for what is in it."""

    def __init__(self, scratch):
        self.scratch, self.leader, self.process = scratch, None, None
        self.groups = [group for group in own_cgroups() if group.is_dir()]
        self.name = f"innopaas-proxy-test-{os.getpid()}"

    def boot(self):
        programs = self.scratch / "bin"
        programs.mkdir()
        shutil.copy(BINARY, programs / "innopaas-proxy")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--directory=/", "--volatile=yes", "--register=no", "--keep-unit",
             "--private-network", f"--machine={self.name}", "--console=pipe", "--link-journal=no",
             f"--bind-ro={programs}:/usr/local/bin", "--boot", "systemd.unit=basic.target",
             "systemd.show_status=no"],
            stdin=subprocess.DEVNULL, stdout=(self.scratch / "console").open("w"), stderr=subprocess.STDOUT,
            preexec_fn=self.enter_own_cgroups)
        self.leader = eventually(self.find_leader)
        eventually(lambda: self.systemctl("is-active", "basic.target", check=False) == "active", 30)
        self.pool = concurrent.futures.ThreadPoolExecutor(4, initializer=self.enter_network)

    def enter_own_cgroups(self):
        """So that its systemd has nothing to do with the groups of this machine."""
        for group in self.groups:
            with contextlib.suppress(OSError):  # a new cpuset lets nobody in
                (group / self.name).mkdir(exist_ok=True)
                (group / self.name / "cgroup.procs").write_text("0")

    def find_leader(self):
        assert self.process.poll() is None, (self.scratch / "console").read_text()
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next((int(pid) for pid in children if os.readlink(f"/proc/{pid}/exe").endswith("/systemd")), None)

    def enter_network(self):
        """The calling thread's sockets are the host's from now on."""
        with open(f"/proc/{self.leader}/ns/net") as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) == 0

    def end(self):
        if self.leader:
            self.systemctl("poweroff", check=False)
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait()
        for group in self.groups:
            for path, _, _ in os.walk(group / self.name, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)

    def run(self, *command, check=True):
        command = ["nsenter", "-t", str(self.leader), "-a", "env", "PATH=/usr/local/bin:/usr/bin:/usr/sbin", *command]
        if check:
            return run(*command)
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=90).stdout.strip()

    def systemctl(self, *arguments, check=True):
        return self.run("systemctl", *arguments, check=check)

    def show(self, name, unit="innopaas-proxy"):
        return self.systemctl("show", "--value", "-p", name, unit)

    def log(self, unit="innopaas-proxy"):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    def path(self, path):
        return pathlib.Path(f"/proc/{self.leader}/root{path}")

    def write(self, path, text, mode=0o644):
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)
        self.path(path).chmod(mode)

    def drop_in(self, name, text=None):
        """Lays one in; without text one of ours."""
        text = (DROP_INS / f"{name}.conf").read_text() if text is None else text
        self.write(f"/etc/systemd/system/innopaas-proxy.service.d/{name}.conf", text)
        self.systemctl("daemon-reload")

    def take_out(self, *names):
        for name in names:
            self.path(f"/etc/systemd/system/innopaas-proxy.service.d/{name}.conf").unlink(missing_ok=True)
        self.systemctl("daemon-reload")

    def background(self, *arguments, **options):
        return self.pool.submit(exchange, *arguments, **options)

    def ask(self, *arguments, **options):
        """Status and body of an answer, whatever they are; 0 if nobody answers."""
        return self.background(*arguments, **options).result()

    def send(self, **headers):
        return self.ask(7253, "POST", SEND, "{}", headers)[0]

    def sandbox(self, path, body=None):
        status, answer = self.ask(7256, "POST" if body is not None else "GET", f"/_sandbox/{path}",
                                  json.dumps(body or {}), tls=True)
        assert status in (200, 204), f"{path}: {status}"
        return json.loads(answer) if answer else None


def own_cgroups():
    """This process's, in each hierarchy."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        root = pathlib.Path("/sys/fs/cgroup")
        if controllers:
            yield root / controllers.removeprefix("name=") / path.lstrip("/")
        else:
            yield (root / "unified" if (root / "unified").is_dir() else root) / path.lstrip("/")


def exchange(port, method, path, body=None, headers=None, tls=False):
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def documented(host, word):
    """Runs the commands of the block in deploy/README.md that has this word, as somebody in a checkout does."""
    section = (DEPLOY / "README.md").read_text().split("\n## systemd\n")[1].split("\n## ")[0]
    block = next(block for block in re.findall(r"^```console\n(.*?)^```", section, re.M | re.S) if word in block)
    for line in re.findall(r"^\$ sudo (.*?)(?: {2,}#.*)?$", block, re.M):
        # The program and the pair are there already, and each case starts the service for itself.
        if not re.search("static-binary|app-key|enable --now", line):
            host.run("sh", "-c", f"cd /srv/checkout && {line}")


def it_is_set_up(host):
    """As deploy/README.md says, and a sandbox beside it."""
    shutil.copytree(UNITS, host.path("/srv/checkout/deploy/systemd"))
    documented(host, "/usr/local/bin/innopaas-proxy")
    host.write("/etc/systemd/system/sandbox.service", """
[Service]
Type=exec
UMask=0077
ExecStart=/usr/local/bin/innopaas-proxy sandbox --write /etc/innopaas
""")
    host.write("/etc/systemd/system/shop.service", (UNITS / "shop.service").read_text())
    host.drop_in("sandbox", """
[Service]
Environment=INNOPAAS_PROXY_UPSTREAM__ORIGIN=https://localhost:7256
Environment=INNOPAAS_PROXY_UPSTREAM__CA_FILE=/etc/sandbox-ca.pem
Environment=INNOPAAS_PROXY_UPSTREAM__ALLOW_PRIVATE=127.0.0.0/8,::1
# Only to be done sooner.
Environment=INNOPAAS_PROXY_DRAIN__MINIMUM=0s
""")
    host.write("/etc/hosts", "127.0.0.1 localhost\n")
    shutil.copy(UNITS / "replace-pair", host.scratch / "bin")
    # What shop is: it calls once, and ends badly if that fails.
    shop = host.scratch / "bin" / "shop"
    shop.write_text(f"""#!/bin/sh
curl -sS --fail -w "\\n" --json '{{}}' "$INNOPAAS_BASE_URL{SEND}" && exec sleep infinity
""")
    shop.chmod(0o755)
    host.systemctl("start", "sandbox")
    eventually(host.path("/etc/innopaas/standby/authorization").exists)
    host.write("/etc/sandbox-ca.pem", host.path("/etc/innopaas/ca.pem").read_text())
    return host.run("systemctl", "--version").splitlines()[0]


def systemd_finds_no_fault(host):
    for extra in ([], ["10-follow"], ["20-callers"], ["10-follow", "20-callers"]):
        for name in extra:
            host.drop_in(name)
        told = host.run("systemd-analyze", "verify", "innopaas-proxy.service", "shop.service")
        host.take_out(*extra)
        assert "innopaas" not in told and "shop" not in told, told


def started_means_ready(host):
    begun = time.monotonic()
    host.systemctl("start", "innopaas-proxy")
    took = time.monotonic() - begun
    status, answer = host.ask(7253, "POST", SEND, "{}")
    assert status == 200, f"the first call was answered {status}: {answer}"
    return f"{took:.2f} s, then 200"


def the_process_can_do_little(host):
    pid = host.show("MainPID")
    status = dict(line.split(":\t", 1) for line in host.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, "capabilities"
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "no_new_privs, seccomp"
    assert 61184 <= int(status["Uid"].split()[0]) <= 65519, f"no dynamic user: {status['Uid']}"
    limits = host.run("cat", f"/proc/{pid}/limits")
    assert re.search(r"Max core file size +0 +0 ", limits) and re.search(r"Max open files +8192 ", limits), limits
    mounts = host.run("cat", f"/proc/{pid}/mountinfo")
    credentials = re.search(r" /run/credentials/innopaas-proxy.service (\S+) .* - (\S+) ", mounts)
    assert credentials[2] in ("ramfs", "tmpfs") and credentials[1].startswith("ro"), "the pair is not in memory alone"
    pair = host.path("/etc/innopaas/authorization").stat()
    assert pair.st_uid == 0 and pair.st_mode & 0o077 == 0, "the pair on disk is not root's alone"
    token = host.path("/etc/innopaas/authorization").read_text()
    assert token not in host.log() and token not in host.run("cat", f"/proc/{pid}/environ"), "the token is seen"
    return f"{status['VmRSS'].strip()}, {status['Threads']} threads"


def a_restart_drains(host):
    before = host.show("MainPID")
    host.sandbox("act", {"act": {"slow-head": {"ms": 4000}}, "times": 1})
    call = host.background(7253, "POST", SEND, "{}")
    eventually(lambda: "requests_in_flight 1" in host.ask(7255, "GET", "/metrics")[1])
    begun = time.monotonic()
    host.systemctl("restart", "innopaas-proxy")
    assert call.result()[0] == 200, f"the call in flight was answered {call.result()}"
    assert host.show("MainPID") != before and host.show("Result") == "success" and host.send() == 200
    return f"{time.monotonic() - begun:.1f} s with a call of 4 s in flight, which was answered 200"


def a_stop_ends_with_0(host):
    host.systemctl("stop", "innopaas-proxy")
    state = [host.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
    assert state == ["inactive", "success", "0"], state
    host.systemctl("start", "innopaas-proxy")


def what_was_cut_is_a_failure(host):
    host.drop_in("short", "[Service]\nEnvironment=INNOPAAS_PROXY_DRAIN__MAXIMUM=1s\n")
    host.systemctl("restart", "innopaas-proxy")
    host.sandbox("act", {"act": {"slow-head": {"ms": 8000}}, "times": 1})
    host.background(7253, "POST", SEND, "{}")
    eventually(lambda: "requests_in_flight 1" in host.ask(7255, "GET", "/metrics")[1])
    host.systemctl("stop", "innopaas-proxy")
    state = [host.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
    host.take_out("short")
    assert state == ["failed", "exit-code", "3"], state
    host.systemctl("start", "innopaas-proxy")


def it_comes_back(host):
    for signal in ("KILL", "TERM"):
        before = host.show("MainPID")
        host.systemctl("kill", f"--signal={signal}", "--kill-whom=main", "innopaas-proxy")
        eventually(lambda: host.show("MainPID") not in (before, "0") and host.show("ActiveState") == "active", 20)
        assert host.send() == 200


def wrong_settings_are_not_tried_again(host):
    host.drop_in("wrong", "[Service]\nEnvironment=INNOPAAS_PROXY_DRAIN__MAXIMUM=soon\n")
    host.systemctl("restart", "innopaas-proxy", check=False)
    eventually(lambda: host.show("ActiveState") == "failed")
    time.sleep(2.5)  # longer than RestartSec: to see that nothing happens there is nothing to wait for
    state = [host.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    host.take_out("wrong")
    assert state == ["failed", "64", "0"], state
    assert "drain.maximum" in host.log() or "DRAIN__MAXIMUM" in host.log(), "the log does not say why"
    host.systemctl("restart", "innopaas-proxy")


def new_pair(host, number):
    """A new pair, in a directory as somebody would have it, and not yet InnoPaaS's."""
    pair = {"appKey": f"app-key-number-{number}", "authorization": f"token-number-{number}"}
    host.write("/srv/new/app-key", pair["appKey"], 0o600)
    host.write("/srv/new/authorization", pair["authorization"], 0o600)
    return pair


def a_copy_takes_a_restart(host):
    pair = new_pair(host, 1)
    host.run("replace-pair", "/srv/new", "/etc/innopaas")
    host.systemctl("reload", "innopaas-proxy")
    host.sandbox("pair", pair)
    time.sleep(2.5)  # two polls and more: what must not happen cannot be waited for
    assert host.send() == 401, "it follows a copy; then the comment in the unit is wrong"
    host.systemctl("restart", "innopaas-proxy")
    assert host.send() == 200


def follow_takes_none(host):
    documented(host, "10-follow.conf")
    assert host.send() == 200
    before = host.show("MainPID")
    host.sandbox("reset-counts", {})
    took = []
    for number in (2, 3):
        pair = new_pair(host, number)
        begun = time.monotonic()
        host.run("replace-pair", "/srv/new", "/etc/innopaas")
        host.sandbox("pair", pair)
        eventually(lambda: host.send() == 200)
        took.append(time.monotonic() - begun)
    assert host.show("MainPID") == before, "it was restarted"
    assert host.sandbox("calls")["mixed"] == 0, "the halves of two pairs were sent"
    return f"used after {max(took):.2f} s at most, same process"


def the_group_alone_reads_the_pair(host):
    """Another service without the group is shut out."""
    denied = host.run("systemd-run", "--quiet", "--pipe", "--wait", "-p", "DynamicUser=yes", "sh", "-c",
                      "cat /etc/innopaas/authorization || echo denied", check=False)
    assert denied == "denied", "everybody reads the token"


def callers_show_a_token(host):
    """Beside 10-follow.conf, whose empty LoadCredential= must not take it away, and alone."""
    token = "0123456789abcdef0123456789abcdef"
    host.write("/etc/innopaas-callers", token + "\n", 0o600)
    host.drop_in("20-callers")
    for _ in range(2):
        host.systemctl("restart", "innopaas-proxy")
        statuses = host.send(), host.send(**{"Innopaas-Proxy-Token": token})
        assert statuses == (403, 200), statuses
        host.take_out("10-follow")
    host.take_out("20-callers")


def an_application_finds_it_ready(host):
    host.systemctl("stop", "innopaas-proxy")
    host.systemctl("start", "shop")  # which starts the proxy, and waits for it
    eventually(lambda: '"success":true' in host.log("shop") or host.show("ActiveState", "shop") != "active")
    assert '"success":true' in host.log("shop"), host.log("shop")
    host.systemctl("restart", "innopaas-proxy")
    assert host.show("ActiveState", "shop") == "active", "the proxy's restart took the application along"


def main():
    install({"systemd-analyze": "systemd", "systemd-nspawn": "systemd-container"})
    cases = Cases()
    cases.run("it is hardened", it_is_hardened)
    cases.run("the names in it are those of the program", the_names_are_those_of_the_program)
    cases.run("it is given the time to drain", the_drain_fits)
    cases.run("systemd finds it little exposed", it_is_little_exposed)
    cases.run("a pair is replaced in one step", a_pair_is_replaced_in_one_step)
    with tempfile.TemporaryDirectory() as scratch:
        host = Host(pathlib.Path(scratch))
        try:
            cases.run("a host boots", host.boot)
            if host.leader:
                for name, case in [
                    ("it is set up", it_is_set_up),
                    ("systemd finds no fault in the units", systemd_finds_no_fault),
                    ("started means ready", started_means_ready),
                    ("the process can do little", the_process_can_do_little),
                    ("a restart drains", a_restart_drains),
                    ("a stop ends with 0", a_stop_ends_with_0),
                    ("what was cut is a failure, with 3", what_was_cut_is_a_failure),
                    ("it comes back", it_comes_back),
                    ("wrong settings are not tried again", wrong_settings_are_not_tried_again),
                    ("a copy takes a restart", a_copy_takes_a_restart),
                    ("10-follow.conf takes none", follow_takes_none),
                    ("with 10-follow.conf the group reads the pair, and nobody else", the_group_alone_reads_the_pair),
                    ("with 20-callers.conf a call shows a token", callers_show_a_token),
                    ("an application finds it ready", an_application_finds_it_ready),
                ]:
                    cases.run(name, case, host)
        finally:
            host.end()
    cases.end()


if __name__ == "__main__":
    main()
