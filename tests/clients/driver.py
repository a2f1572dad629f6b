"""The cases that real clients go through, and what must come of them.

    driver.py BINARY PYTHON      (`run` prepares both; PYTHON has requests and httpx)

Starts the sandbox and the proxy, runs every case of every client as a process of its own, and
asks the sandbox what it saw. Ends both processes, whatever happens. Does not judge what the proxy
does to requests that no usual client sends: that is for tests/it.
"""

import base64
import hashlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SEND = "/api/sms/v3/msg/send"
UPLOAD = "/api/whatsapp/v3/uploadFile"

ALL = ("curl", "requests", "httpx", "node", "java")
FETCH_REMEDY = 'in Node\'s fetch add headers: {"Content-Type": "application/json"} beside body'
CURL_REMEDY = "with curl use --json instead of -d"
PYTHON_REMEDY = "in Python use json= instead of data="
OTHER_REMEDY = "elsewhere set the header Content-Type: application/json"


@dataclass(frozen=True)
class Case:
    """What a client does, and which clients must succeed with it or be refused."""

    name: str
    how: str  # each client program knows how it sends that
    body: str  # a key of BODIES
    passes: tuple = ()
    refused: dict = field(default_factory=dict)  # client: what the remedy must tell it
    content_type: str = ""  # set by the client's user; if empty, the library decides
    path: str = SEND
    times: int = 1
    relayed: bool = False  # through a `Relay`, where what the client really sends must be known


CASES = (
    Case("JSON without a content type", "bytes", "json", ALL),
    Case(
        "another spelling of JSON",
        "bytes",
        "json",
        ALL,
        content_type="Application/JSON; charset=UTF-8",
    ),
    Case("Chinese and emoji, byte for byte", "bytes", "unicode", ALL),
    # requests, httpx and Java's HttpClient set no content type for a string, so it passes.
    Case(
        "a string in the library's way",
        "text",
        "json",
        passes=("requests", "httpx", "java"),
        refused={"curl": CURL_REMEDY, "node": FETCH_REMEDY},
    ),
    # Java's HttpClient has no forms, and curl's are its strings.
    Case(
        "a form in the library's way",
        "form",
        "json",
        refused={"requests": PYTHON_REMEDY, "httpx": PYTHON_REMEDY, "node": OTHER_REMEDY},
    ),
    # Who was refused above, with the line changed as the remedy says.
    Case(
        "JSON as the remedy says",
        "remedied",
        "json",
        passes=("curl", "requests", "httpx", "node"),
        relayed=True,
    ),
    Case("an upload", "upload", "picture", ALL, path=UPLOAD, relayed=True),
    Case("ten calls on kept connections", "bytes", "json", ALL, times=10, relayed=True),
)

# Connections that calls one after the other may take. Node's fetch begins the second call before
# it has put the first connection back, and then uses both in turn, with any server.
CONNECTIONS = {"curl": 1, "requests": 1, "httpx": 1, "node": 2, "java": 1}

BODIES = {
    "json": b'{"mobile": "6281200000000", "content": "Your code is 1234"}\n',
    "unicode": '{"content": "您的验证码是 1234 🚀👩‍👩‍👧 é\u2028"}'.encode(),
    # Every byte there is, and more than curl sends without asking first (Expect: 100-continue).
    "picture": bytes(range(256)) * 8192,
}

# What an application may still send from the time before the proxy.
STALE = ("Authorization:Bearer stale", "appkey:stale", "APPKEY:stale", "app_key:stale")

JSON_UPSTREAM = "application/json;charset=utf-8"
ONCE = ("appkey", "authorization", "host", "content-type")
NEVER = ("upgrade", "http2-settings", "connection")

START = 15  # seconds until a process serves
CALL = 60  # seconds for a case of one client; Java compiles its source first
END = 30  # seconds from SIGTERM to the exit; the proxy drains for 25 at most


def main(binary, python):
    # So that whoever ends this ends the processes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    here = Path(__file__).parent
    clients = {
        "curl": [str(here / "client.sh")],
        "requests": [python, "-B", str(here / "client.py"), "requests"],
        "httpx": [python, "-B", str(here / "client.py"), "httpx"],
        "node": ["node", str(here / "client.mjs")],
        "java": ["java", str(here / "Client.java")],
    }
    tally = Tally()
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        for name, content in BODIES.items():
            (directory / name).write_bytes(content)
        with sandbox_serving(binary, directory) as sandbox:
            with proxy_serving(binary, sandbox, directory) as proxy:
                for client, case in planned():
                    faults = run_case(case, client, clients[client], proxy, sandbox, directory)
                    tally.add(client, case.name, faults)
                # A call that came late, after its case was over, is found here.
                late = differs("calls", sandbox.calls()["total"], sandbox.expected)
                tally.add("sandbox", "saw no call but the expected ones", late)
                tally.add("proxy", "ends with exit code 0 on SIGTERM", proxy.end())
                tally.add("proxy", "logs nothing worth a warning", log_faults(proxy.log))
                tally.add("proxy", "tells no secret", leaks(sandbox.secrets, proxy))
    return tally.close()


def planned():
    for client in ALL:
        for case in CASES:
            if client in case.passes or client in case.refused:
                yield client, case


class Tally:
    """Prints as it counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, who, name, faults):
        print(f"{'FAILED' if faults else 'ok    '} {who:<9} {name}")
        for fault in faults:
            print(f"         {fault}")
        sys.stdout.flush()
        self.failed += bool(faults)
        self.passed += not faults

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


# One case of one client.


def run_case(case, client, program, proxy, sandbox, directory):
    """Everything that is wrong with it, in words."""
    before = sandbox.calls()
    headers = list(STALE)
    if case.content_type:
        headers.append(f"Content-Type:{case.content_type}")
    relay = Relay(proxy.listen) if case.relayed else None
    host, port = relay.address if relay else proxy.listen
    arguments = [
        case.how,
        f"http://{host}:{port}{case.path}",
        str(directory / case.body),
        str(case.times),
    ]
    try:
        answers = ask(program + arguments + headers)
    except Unusable as problem:
        return [str(problem)]
    finally:
        if relay:
            relay.close()
    proxy.told.extend(answer["body"] for answer in answers)

    calls = sandbox.calls()
    expected = case.times if client in case.passes else 0
    sandbox.expected += expected
    faults = differs("answers", len(answers), case.times)
    for count, wanted in {"total": expected, "accepted": expected}.items():
        faults += differs(f"sandbox, {count}", calls[count] - before[count], wanted)
    for count in ("refused", "malformed", "cut"):
        faults += differs(f"sandbox, {count}", calls[count] - before[count], 0)
    for answer in answers:
        if client in case.passes:
            faults += passed_faults(answer)
        else:
            faults += refused_faults(answer, case.refused[client])

    bodies = [BODIES[case.body]] * case.times
    content_types = [JSON_UPSTREAM] * case.times
    if relay:
        sent, unreadable = relay.requests()
        faults += unreadable
        if not 1 <= len(relay.connections) <= CONNECTIONS[client]:
            faults.append(f"wire, connections: {len(relay.connections)}")
        faults += differs("requests on the wire", len(sent), case.times)
        faults += wire_faults(case, client, sent)
        bodies = [request.body for request in sent]
        if case.how == "upload":
            content_types = [request.first("content-type") for request in sent]
    records = calls["records"][-expected:] if expected else []
    for record, body, content_type in zip(records, bodies, content_types):
        faults += record_faults(record, body, content_type)
    if faults and expected:
        faults.append(f"the sandbox's last record: {json.dumps(records[-1:])}")
    return faults


class Unusable(Exception):
    """A client gave no answers to judge."""


def ask(command):
    try:
        done = subprocess.run(command, capture_output=True, timeout=CALL)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
    except (subprocess.TimeoutExpired, OSError, ValueError) as problem:
        raise Unusable(f"the client: {problem}") from problem
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[:500]
        raise Unusable(f"the client ended with {done.returncode}: {said}")
    for answer in answers:
        answer["body"] = base64.b64decode(answer["body"])
    return answers


def passed_faults(answer):
    """The sandbox's own answer, with a request id and nothing else of ours."""
    faults = differs("status", answer["status"], 200)
    faults += differs("Content-Type", answer["content_type"], "application/json;charset=UTF-8")
    faults += differs("Proxy-Status", answer["proxy_status"], "")
    if not answer["request_id"]:
        faults.append("X-Request-Id is missing")
    envelope = parsed(answer["body"])
    for name, wanted in {"code": "0", "success": True, "message": "Success"}.items():
        faults += differs(f"envelope, {name}", envelope.get(name), wanted)
    if faults:
        faults.append(f"the answer: {answer}")
    return faults


def refused_faults(answer, remedy):
    faults = differs("status", answer["status"], 415)
    faults += differs("Content-Type", answer["content_type"], "application/problem+json")
    if not answer["proxy_status"].startswith("innopaas-proxy;"):
        faults.append("Proxy-Status is not the proxy's")
    problem = parsed(answer["body"])
    wanted = {
        "status": 415,
        "code": "content_type_refused",
        "sent": "no",
        "request_id": answer["request_id"] or "the header's",
    }
    for name, value in wanted.items():
        faults += differs(f"problem, {name}", problem.get(name), value)
    if remedy not in str(problem.get("remedy")):
        faults.append(f"the remedy does not say: {remedy}")
    if faults:
        faults.append(f"the answer: {answer}")
    return faults


def record_faults(record, body, content_type):
    """What reached InnoPaaS: one right set, and the body as it was."""
    faults = differs("sandbox, Content-Type", record["content_type"], content_type)
    faults += differs("sandbox, bytes", record["body_bytes"], len(body))
    faults += differs("sandbox, SHA-256", record["body_sha256"], hashlib.sha256(body).hexdigest())
    # With `-` and `_` taken away: servers often take these spellings for one name.
    names = [name.replace("-", "").replace("_", "") for name in record["header_names"]]
    for name in ONCE:
        faults += differs(f"sandbox, headers {name}", names.count(name.replace("-", "")), 1)
    for name in NEVER:
        faults += differs(f"sandbox, headers {name}", names.count(name.replace("-", "")), 0)
    return faults


def wire_faults(case, client, sent):
    """Whether the client sent what the case is about: else it would show nothing."""
    faults = []
    for request in sent:
        faults += differs("wire, Authorization", request.all("authorization"), ["Bearer stale"])
        if not request.all("appkey") or not request.all("app_key"):
            faults.append("wire: the stale AppKey is missing")
        if case.how == "bytes":
            faults += differs("wire, Content-Type", request.all("content-type"), [])
        if case.how == "upload":
            kind = request.first("content-type")
            if not kind.startswith("multipart/form-data") or "boundary=" not in kind:
                faults.append(f"wire: not a multipart Content-Type: {kind}")
    if client == "java" and sent:
        faults += differs("wire, Upgrade", sent[0].all("upgrade"), ["h2c"])
        faults += differs("wire, HTTP2-Settings", len(sent[0].all("http2-settings")), 1)
    if client == "curl" and case.how == "upload" and sent:
        faults += differs("wire, Expect", sent[0].all("expect"), ["100-continue"])
    return faults


def differs(what, is_, wanted):
    return [] if is_ == wanted else [f"{what}: {is_!r} instead of {wanted!r}"]


def parsed(body):
    """A JSON object; an empty one for anything else, in which every expected field is missed."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# What passes between a client and the proxy.


class Relay:
    """Passes bytes on unchanged, both ways, and keeps what the client sent."""

    def __init__(self, proxy):
        self.connections = []  # what was sent on each
        self._proxy = proxy
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake `accept`
        self._listener.close()

    def requests(self):
        """All requests, one connection after the other, and what could not be read as one."""
        requests, faults = [], []
        for sent in self.connections:
            rest = bytes(sent)
            while rest:
                head, end, rest = rest.partition(b"\r\n\r\n")
                request = Request(head.decode("latin-1"))
                length = request.first("content-length")
                if not end or not length.isdigit() or len(rest) < int(length):
                    faults.append(f"wire: not a request with a known length: {request.lines}")
                    break
                request.body, rest = rest[: int(length)], rest[int(length) :]
                requests.append(request)
        return requests, faults

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                proxy = socket.create_connection(self._proxy)
            except OSError:
                client.close()
                continue
            sent = bytearray()
            self.connections.append(sent)
            for way in ((client, proxy, sent), (proxy, client, bytearray())):
                threading.Thread(target=self._pass, args=way, daemon=True).start()

    @staticmethod
    def _pass(source, sink, kept):
        try:
            while piece := source.recv(65536):
                kept += piece  # before it is sent: an answer must find it here
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Neither side may wait for the other then; the case tells that an answer is missing.
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


class Request:
    """A request as it was on the wire."""

    def __init__(self, head):
        self.lines = head.split("\r\n")
        self.body = b""

    def all(self, name):
        pairs = (line.partition(":") for line in self.lines[1:])
        return [value.strip() for key, _, value in pairs if key.lower() == name]

    def first(self, name):
        return next(iter(self.all(name)), "")


# The two processes.


class Process:
    """The binary, its output in files, where no reader can hold it up."""

    def __init__(self, directory, command):
        self.output = directory / f"{command[1]}.stdout"
        self.log = directory / f"{command[1]}.stderr"
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._child = subprocess.Popen(command, stdout=output, stderr=log)

    def wait_for(self, find):
        """What `find` makes of the first whole line, of output or log, that it takes."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._child.poll() is None:
            written = self.output.read_text() + self.log.read_text()
            for line in written.splitlines(keepends=True):
                if line.endswith("\n") and (found := find(line)):
                    return found
            time.sleep(0.02)
        sys.exit(f"{' '.join(self._child.args)} does not serve:\n{self.log.read_text()}")

    def end(self):
        """Ends it as an orchestrator does; what was wrong with that."""
        if self._child.returncode is not None:
            return []
        if self._child.poll() is not None:
            return [f"it had ended before, with {self._child.returncode}"]
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(END)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            return [f"it still ran after {END} seconds"]
        return differs("exit code", self._child.returncode, 0)


class Sandbox(Process):
    """The stand-in for InnoPaaS, and the only witness of what left the proxy."""

    def __init__(self, binary, directory):
        self.directory = directory / "pair"
        self.expected = 0  # calls
        command = [binary, "sandbox", "--port", "0", "--write", str(self.directory)]
        super().__init__(directory, command)

    def wait_until_serving(self):
        prefix = "sandbox: "
        self.origin = self.wait_for(
            lambda line: line.startswith(prefix) and line.removeprefix(prefix).strip()
        )
        self.ca_file = self.directory / "ca.pem"
        names = ("app-key", "authorization")
        self.secrets = [(self.directory / name).read_text().strip() for name in names]
        self._tls = ssl.create_default_context(cafile=str(self.ca_file))

    def calls(self):
        """Counts and records; a call is in them before its answer begins."""
        url = urllib.parse.urlsplit(self.origin)
        connection = http.client.HTTPSConnection(
            url.hostname, url.port, timeout=START, context=self._tls
        )
        try:
            connection.request("GET", "/_sandbox/calls")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class Proxy(Process):
    """The binary as a sidecar runs it, but for its ports and its log level."""

    def __init__(self, binary, sandbox, directory):
        self.told = []  # bodies of all answers that clients got
        settings = {
            "--listen": "127.0.0.1:0",
            "--admin": "127.0.0.1:0",
            "--upstream": sandbox.origin,
            "--ca-file": str(sandbox.ca_file),
            "--credentials": str(sandbox.directory),
            "--log-level": "trace",
            "--set": "upstream.allow_private=127.0.0.0/8,::1",
        }
        flags = [word for flag in settings.items() for word in flag]
        super().__init__(directory, [binary, "run", *flags])

    def wait_until_serving(self):
        def serving(line):
            line = parsed(line)
            return line.get("message") == "serving" and line["listen"]

        host, _, port = self.wait_for(serving).rpartition(":")
        self.listen = (host, int(port))
        # The sandbox has just written the pair file by file, so it must stand still first.
        self.wait_for(lambda line: parsed(line).get("message") == "read the credentials")


@contextmanager
def sandbox_serving(binary, directory):
    sandbox = Sandbox(binary, directory)
    try:
        sandbox.wait_until_serving()
        yield sandbox
    finally:
        sandbox.end()


@contextmanager
def proxy_serving(binary, sandbox, directory):
    proxy = Proxy(binary, sandbox, directory)
    try:
        proxy.wait_until_serving()
        yield proxy
    finally:
        proxy.end()


# What the proxy wrote.


def log_faults(log):
    """A line that is no JSON is a fault too: a panic is told like that."""
    quiet = ("INFO", "DEBUG", "TRACE")
    return [
        f"it logged: {line}"
        for line in log.read_text().splitlines()
        if parsed(line).get("level") not in quiet
    ]


def leaks(secrets, proxy):
    """Which secret is where, without telling it."""
    places = {
        "standard output": proxy.output.read_bytes(),
        "the log": proxy.log.read_bytes(),
        "an answer": b"\n".join(proxy.told),
    }
    return [
        f"secret {number} is in {place}, {spelling}"
        for number, secret in enumerate(secrets)
        for spelling, texts in spellings(secret.encode("ascii")).items()
        for place, content in places.items()
        if any(text in content for text in texts)
    ]


def spellings(secret):
    as_hex = secret.hex()
    percent = urllib.parse.quote(secret, safe="")
    all_percent = "".join(f"%{byte:02X}" for byte in secret)
    return {
        "as it is": [secret],
        "in base64": base64_anywhere(secret),
        "in hex": [as_hex.encode(), as_hex.upper().encode()],
        "percent-encoded": [text.encode() for text in (percent, all_percent, all_percent.lower())],
    }


def base64_anywhere(secret):
    """What base64 makes of it inside a longer text, at each of the three places in a group."""
    texts = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret).rstrip(b"=")
        # The characters at both ends depend on the neighbours too.
        first = -(-before * 8 // 6)
        last = (before + len(secret)) * 8 // 6
        texts.append(encoded[first:last])
    return texts + [text.translate(bytes.maketrans(b"+/", b"-_")) for text in texts]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
