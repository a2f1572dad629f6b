"""What an operator sees: the PodMonitor, the alerts, what to do about them, and the dashboard.

The rules are tried by `promtool` with the cases of alerts.yaml. For the rest a real Prometheus scrapes
real proxies, which get good and bad calls, as the PodMonitor says; it is asked every query of the
dashboard and every part of each rule. Last, things are broken on purpose, and that must be noticed.
"""

import collections
import copy
import http.client
import http.server
import json
import math
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import yaml

from cases import BINARY, DEPLOY, ROOT, Cases, install

MONITORING = DEPLOY / "kubernetes" / "monitoring"
MONITOR = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text())
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text())
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
ALERT_CASES = pathlib.Path(__file__).with_name("alerts.yaml")
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
ALERTS_PAGE = DEPLOY / "alerts.md"

# What Prometheus itself, the PodMonitor and other sources of metrics add.
TARGET_LABELS = {"namespace", "workload", "pod", "endpoint"}
FOREIGN_LABELS = {"container", "phase", "resource", "alertname", "alertstate", "le", "origin"}
ALL_RULES = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in ALL_RULES if "record" in rule}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# How long anything here may take that should take a moment.
PATIENCE = 30


# What the documents say.


def section(title):
    return re.search(rf"^## {title}$(.*?)^## ", REFERENCE, re.M | re.S).group(1)


def rows(text):
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) > 1 and "`" in cells[0] and line.startswith("|"):
            yield cells


def words(cell):
    return set(re.findall(r"`([^`]*)`", cell))


METRICS = {min(words(row[0])) for row in rows(section("Metrics")) if len(row) == 4}
# Those that only answers to webhooks have; their outcomes are counted, not their codes.
FAULTS = {min(words(row[0])): row[2] for row in rows(section("Errors")) if len(row) == 5}
WEBHOOK_CODES = set(list(FAULTS)[-5:])


def documented_labels():
    """The closed set of each label; of those with several sets, all of them together."""
    labels = collections.defaultdict(set)
    for metric in rows(section("Metrics")):
        if len(metric) == 4:
            for name in words(metric[2]):
                labels[name]
    for row in rows(section("Metrics")):
        # What is in brackets explains, and so does what follows some of the lists.
        values = re.sub(r"\([^()]*\)| with the outcome .*", "", row[1])
        name = min(words(row[0]))
        if len(row) == 2 and name in labels:
            labels[name] |= {value for value in words(values) if "." not in value}
    labels["code"] = set(FAULTS)
    labels["status_class"] |= {""}
    return labels


LABELS = documented_labels()


# What a query is made of.


def selectors(expression):
    """Each selector: the metric, and its matchers as (label, operator, value)."""
    # Texts are set aside, so that nothing in them is taken for a part of the query.
    texts = re.findall(r'"[^"]*"', expression)
    bare = re.sub(r'"[^"]*"', "@", expression)
    names = re.finditer(r"([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?", strip_words(bare))
    for name, matchers in (found.groups(default="") for found in names):
        parts = re.findall(r"(\w+)\s*(=~|!=|!~|=)\s*@", matchers)
        yield name, [(label, operator, texts.pop(0).strip('"')) for label, operator in parts]


def strip_words(expression):
    """What is left when functions, groupings, ranges, operators and numbers are taken out."""
    expression = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    expression = re.sub(r"\[[^\]]*\]", " ", expression)
    expression = re.sub(r"\b[a-z_0-9]+\s*\(", "(", expression)
    expression = re.sub(r"(?<![\w:])(and|or|unless|sum|min|max|count)(?![\w:])", " ", expression)
    return re.sub(r"(?<![\w:])\d[\w.]*", " ", expression)


def groupings(expression):
    """The labels that are summed up by or matched on."""
    return [
        {label.strip() for label in labels.split(",") if label.strip()}
        for labels in re.findall(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)", expression)
    ]


def judge(expression):
    """Raises at the first name that nothing documents."""
    known = set(LABELS) | TARGET_LABELS | FOREIGN_LABELS
    for labels in groupings(expression):
        assert labels <= known, f"no such label: {labels - known}"
    for name, matchers in selectors(expression):
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        assert (
            plain in METRICS
            or name in RECORDS
            or name in ("up", "ALERTS")
            or name.startswith(("kube_", "container_"))
        ), f"no such metric: {name}"
        for label, operator, value in matchers:
            assert label in known, f"no such label: {label}"
            if label in LABELS and label not in FOREIGN_LABELS and not value.startswith("$"):
                values = set(value.split("|")) if "~" in operator else {value}
                assert values <= LABELS[label], f"no such {label}: {values - LABELS[label]}"


def dashboard_queries():
    """Each query with the panel's title and the query's legend."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


def filled(query, **variables):
    """As Grafana asks it, if everything is chosen."""
    values = {"namespace": ".*", "workload": ".*", "pod": ".*", "__rate_interval": "5m"} | variables
    query = re.sub(r"\$(\w+)", lambda name: values[name.group(1)], query)
    assert "$" not in query, query
    return query


# Cases on the files alone.


def the_monitor_has_known_fields():
    assert (MONITOR["apiVersion"], MONITOR["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    spec = MONITOR["spec"]
    assert set(spec) <= {"namespaceSelector", "selector", "sampleLimit", "podMetricsEndpoints"}, set(spec)
    for endpoint in spec["podMetricsEndpoints"]:
        known = {"port", "path", "interval", "scrapeTimeout", "relabelings"}
        assert set(endpoint) <= known, set(endpoint) - known
        for relabeling in endpoint["relabelings"]:
            assert set(relabeling) <= {"sourceLabels", "regex", "targetLabel"}, relabeling


def the_monitor_names_the_sidecars_port_and_label():
    for file in ("sidecar.yaml", "sidecar-of-cronjob.yaml"):
        manifest = yaml.safe_load((DEPLOY / "kubernetes" / "sidecar" / file).read_text())
        spec = manifest["spec"]
        template = spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
        (sidecar,) = (c for c in template["spec"]["initContainers"] if c["name"] == "innopaas-proxy")
        ports = [port["name"] for port in sidecar["ports"]]
        (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports, (file, ports)
        (expression,) = MONITOR["spec"]["selector"]["matchExpressions"]
        assert template["metadata"]["labels"][expression["key"]] in expression["values"], file


def the_rules_have_known_fields():
    assert (RULES["apiVersion"], RULES["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert set(RULES["spec"]) == {"groups"}
    for group in RULES["spec"]["groups"]:
        assert set(group) <= {"name", "interval", "rules"}, set(group)
        for rule in group["rules"]:
            if "record" in rule:
                assert set(rule) <= {"record", "expr", "labels"}, rule
            else:
                assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
                assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
                assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
    return f"{len(ALERTS)} alerts, {len(ALL_RULES) - len(ALERTS)} recording rules"


def an_alert_speaks_of_labels_that_it_has():
    for name, rule in ALERTS.items():
        # What follows `and on` only picks among the series: their labels stay.
        kept = re.sub(r"\band on \(.*", "", rule["expr"])
        by = [labels for labels in groupings(kept) if labels]
        recorded = any(metric.startswith("workload:") for metric, _ in selectors(kept))
        has = {"namespace", "workload", "pair"} if recorded else {"namespace", "workload", "pod"}
        if "kube_" in kept:
            has -= {"workload"}
        if by and not recorded:
            has = set.intersection(*by)
        spoken = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert spoken <= has, f"{name}: {spoken - has}"


def each_alert_has_its_section():
    headings = re.findall(r"^#+ (InnopaasProxy\w+)$", ALERTS_PAGE.read_text(), re.M)
    assert sorted(headings) == sorted(ALERTS), set(headings) ^ set(ALERTS)
    for name, rule in ALERTS.items():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert ROOT / page == ALERTS_PAGE and anchor == name.lower(), rule["annotations"]["runbook"]
    for text in re.split(r"^### ", ALERTS_PAGE.read_text(), flags=re.M)[1:]:
        missing = [
            word
            for word in ("**Means**", "**Whose**", "**Do**", "**Look at**")
            if word not in text.split("\n## ")[0]
        ]
        assert not missing, (text.splitlines()[0], missing)


def each_panel_that_a_section_names_exists():
    titles = {panel["title"] for panel in PANELS}
    columns = {
        new
        for panel in PANELS
        for step in panel.get("transformations", [])
        for new in step["options"].get("renameByName", {}).values()
    }
    text = " ".join(ALERTS_PAGE.read_text().split())
    text += " ".join(" ".join(rule["annotations"].values()) for rule in ALERTS.values())
    panels = re.findall(r'panels? "([^"]*)"(?: and "([^"]*)")?', text)
    named = {title for pair in panels for title in pair if title}
    named |= set(re.findall(r'table "([^"]*)"', text))
    assert named and named <= titles, named - titles
    assert set(re.findall(r'column "([^"]*)"', text)) <= columns, columns
    return f"{len(named)} panels"


def each_code_has_the_origin_of_the_document():
    origins = collections.defaultdict(set)
    for rule in ALL_RULES:
        for name, matchers in selectors(rule["expr"]):
            if rule.get("record") and name == "innopaas_proxy_errors_total":
                ((label, _, value),) = matchers
                assert label == "code"
                origins[rule["labels"]["origin"]] |= set(value.split("|"))
    documented = collections.defaultdict(set)
    for code, fault in FAULTS.items():
        if code not in WEBHOOK_CODES:
            documented[fault.lower()].add(code)
    assert origins == documented, (origins, documented)
    return ", ".join(f"{origin} {len(codes)}" for origin, codes in origins.items())


def every_name_is_documented():
    for rule in ALL_RULES:
        judge(rule["expr"])
    for title, query, _ in dashboard_queries():
        try:
            judge(query)
        except AssertionError as error:
            raise AssertionError(f"{title}: {error}") from None


def every_metric_is_in_the_dashboard():
    shown = {
        re.sub(r"_bucket$", "", name) for _, query, _ in dashboard_queries() for name, _ in selectors(query)
    }
    # Without a reason nothing is left out.
    assert METRICS <= shown, METRICS - shown
    return f"{len(METRICS)} metrics"


def the_dashboard_is_well_formed():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = {}
    for panel in DASHBOARD["panels"]:
        place, title = panel["gridPos"], panel["title"]
        assert place["x"] + place["w"] <= 24, title
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), title)
                assert other == title, f"{title} lies on {other}"
    # The text columns of the table have no unit, and the heatmap's is that of its axis.
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in [panel, *panel["targets"]]:
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "namespace", "workload", "pod"], variables
    return f"{len(PANELS)} panels, {len(list(dashboard_queries()))} queries"


def the_kustomization_renders():
    text = output("kubectl", "kustomize", MONITORING)
    found = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}
    config = found.pop(("ConfigMap", "innopaas-proxy-dashboard"))
    assert config["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(config["data"]["dashboard.json"]) == DASHBOARD
    assert found == {("PodMonitor", "innopaas-proxy"): MONITOR, ("PrometheusRule", "innopaas-proxy"): RULES}


# promtool.


def output(*command, stdin=None):
    done = subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command[0]} {command[1]}: {done.stdout}{done.stderr}".strip()
    return done.stdout


def as_rule_file(directory, spec):
    path = pathlib.Path(directory) / "rules.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def promtool_takes_the_rules(directory):
    text = output(
        "promtool", "check", "rules", "--lint=all", "--lint-fatal", as_rule_file(directory, RULES["spec"])
    )
    return re.search(r"\d+ rules found", text).group()


def alerts_fire_when_they_must(directory, spec=RULES["spec"]):
    as_rule_file(directory, spec)
    shutil.copy(ALERT_CASES, directory)
    output("promtool", "test", "rules", pathlib.Path(directory) / ALERT_CASES.name)
    tests = yaml.safe_load(ALERT_CASES.read_text())["tests"]
    samples = [
        sample["labels"]
        for test in tests
        for ask in test["promql_expr_test"]
        for sample in ask.get("exp_samples", [])
    ]
    fired = set(re.findall(r'alertname="(\w+)"', " ".join(samples)))
    assert fired == set(ALERTS), fired ^ set(ALERTS)
    return f"{len(tests)} situations"


def a_rule_is_noticed_that(change, directory):
    spec = copy.deepcopy(RULES["spec"])
    change([rule for group in spec["groups"] for rule in group["rules"]])
    try:
        alerts_fire_when_they_must(directory, spec)
    except AssertionError as error:
        return next(line.strip() for line in str(error).splitlines() if "got" in line or "exp" in line)[:100]
    raise AssertionError("it was not noticed")


# A cluster's worth of processes, without the cluster.


class Processes:
    """Ends what it started, whatever happens."""

    def __init__(self, directory):
        self.directory, self.started = pathlib.Path(directory), []

    def start(self, name, *command):
        log = self.directory / f"{name}.log"
        with log.open("w") as file:
            process = subprocess.Popen([str(part) for part in command], stdout=file, stderr=subprocess.STDOUT)
        self.started.append((name, process, log))
        return log

    def end(self):
        for _, process, _ in reversed(self.started):
            process.terminate()
        for _, process, _ in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(what, condition, patience=PATIENCE):
    """What the condition answers, once that is true."""
    end = time.monotonic() + patience
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {patience} s: {what() if callable(what) else what}"
        time.sleep(0.1)


def in_log(log, pattern):
    found = until(
        lambda: f"{pattern} in {log.read_text()[-500:]}", lambda: re.search(pattern, log.read_text())
    )
    return found.groups()


def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Application(http.server.BaseHTTPRequestHandler):
    """Takes webhooks, and stands in for kube-state-metrics and the kubelet's metrics."""

    protocol_version = "HTTP/1.1"
    answer = 200
    container = 'namespace="n",pod="shop-1",container="innopaas-proxy"'
    metrics = f"""
kube_pod_init_container_status_ready{{{container}}} 1
kube_pod_container_status_ready{{{container}}} 1
kube_pod_status_phase{{namespace="n",pod="shop-1",phase="Running"}} 1
kube_pod_status_phase{{namespace="n",pod="shop-1",phase="Pending"}} 0
kube_pod_init_container_status_restarts_total{{{container}}} 0
kube_pod_container_status_restarts_total{{{container}}} 0
kube_pod_init_container_resource_limits{{{container},resource="memory",unit="byte"}} 67108864
kube_pod_container_resource_limits{{{container},resource="memory",unit="byte"}} 67108864
container_memory_working_set_bytes{{{container}}} 8000000
container_cpu_usage_seconds_total{{{container}}} 1
"""

    def do_GET(self):
        self.reply(200, self.metrics.encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(type(self).answer, b"")

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def call(port, path="/api/sms/v3/msg/send", content_type="application/json", body="{}"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, body, {"Content-Type": content_type})
    status = connection.getresponse().status
    connection.close()
    return status


class Cluster:
    """Four pods with a proxy, a sandbox that they call, and a Prometheus that follows the PodMonitor."""

    def __init__(self, processes):
        self.processes, self.directory = processes, processes.directory
        self.start_sandbox()
        self.application = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
        threading.Thread(target=self.application.serve_forever, daemon=True).start()
        (self.directory / "key").write_text("0123456789abcdef0123456789abcdef")
        self.values = {"user_name": "shop", "authorization": "Bearer of-the-console"}
        webhook = self.directory / "webhook"
        webhook.mkdir()
        (webhook / "user-name").write_text(self.values["user_name"])
        (webhook / "authorization").write_text(self.values["authorization"])
        hook = self.application.server_address[1]
        full = {
            "credentials.directory": self.directory / "pair",
            "credentials.standby.directory": self.directory / "pair" / "standby",
            "credentials.fingerprint_key_file": self.directory / "key",
            "webhook.listen": "127.0.0.1:0",
            "webhook.credentials": f"app=shop current={webhook}",
            "webhook.routes": f"type=sms_status to=http://127.0.0.1:{hook}/, type=sms_uplink to=http://127.0.0.1:{closed_port()}/",
        }
        (self.directory / "nothing").mkdir()
        cut_off = {
            "credentials.directory": self.directory / "pair",
            "upstream.origin": f"https://localhost:{closed_port()}",
        }
        self.pods = {
            "shop-1": self.start_proxy("shop-1", full),
            "shop-2": self.start_proxy("shop-2", full),
            "club-0": self.start_proxy("club-0", cut_off),
            "bare": self.start_proxy("bare", {"credentials.directory": self.directory / "nothing"}),
        }
        self.start_prometheus()

    def start_sandbox(self):
        pair = self.directory / "pair"
        log = self.processes.start("sandbox", BINARY, "sandbox", "--port", "0", "--write", pair)
        (self.sandbox,) = in_log(log, r"https://localhost:(\d+)")
        # Soon, so that the alert is pending.
        for directory in (pair, pair / "standby"):
            (directory / "expires-at").write_text(
                time.strftime("%Y-%m-%d", time.gmtime(time.time() + 5 * 86400))
            )

    def control(self, what, order=None):
        trust = ssl.create_default_context(cafile=self.directory / "pair" / "ca.pem")
        connection = http.client.HTTPSConnection("localhost", int(self.sandbox), context=trust, timeout=20)
        connection.request("POST", f"/_sandbox/{what}", json.dumps(order) if order else None)
        answer = connection.getresponse()
        assert answer.status < 300, (what, answer.status, answer.read())
        connection.close()

    def start_proxy(self, name, settings):
        settings = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "upstream.origin": f"https://localhost:{self.sandbox}",
            "upstream.ca_file": self.directory / "pair" / "ca.pem",
            "upstream.allow_private": "127.0.0.0/8,::1",
            "refusal.confirm": "1s",
        } | settings
        flags = [flag for setting, value in settings.items() for flag in ("--set", f"{setting}={value}")]
        log = self.processes.start(name, BINARY, "run", *flags)
        addresses = in_log(
            log, r'"listen":"127.0.0.1:(\d+)","admin":"127.0.0.1:(\d+)"(?:,"webhook":"127.0.0.1:(\d+)")?'
        )
        return [int(port) if port else None for port in addresses]

    def start_prometheus(self):
        spec = copy.deepcopy(RULES["spec"])
        for group in spec["groups"]:
            group.pop("interval", None)
        admin = {pod: ports[1] for pod, ports in self.pods.items()}
        discovered = [
            seen("shop-1", admin["shop-1"], controller=("ReplicaSet", "shop-5d8f9c6b7d")),
            seen("shop-2", admin["shop-2"], controller=("ReplicaSet", "shop-5d8f9c6b7d")),
            seen("club-0", admin["club-0"], controller=("StatefulSet", "club")),
            seen("bare", admin["bare"], label="receiver"),
            seen("nightly-29401234-x7k2p", admin["bare"], controller=("Job", "nightly-29401234")),
            seen("gone", closed_port()),
            seen("opted-out", admin["bare"], label="off"),
            seen("without-label", admin["bare"], label=None),
            seen("other-port", admin["bare"], port="innopaas-hook"),
            seen("ended", admin["bare"], phase="Succeeded"),
        ]
        others = {"job_name": "others", "honor_labels": True}
        others["static_configs"] = [{"targets": [f"127.0.0.1:{self.application.server_address[1]}"]}]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(as_rule_file(self.directory, spec))],
            "scrape_configs": [as_the_operator_does(MONITOR, discovered), others],
        }
        file = self.directory / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        log = self.processes.start(
            "prometheus",
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={self.directory / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
        )
        (self.prometheus,) = in_log(log, r'[Ll]istening on"? address=127\.0\.0\.1:([1-9]\d*)')
        until("Prometheus is ready", lambda: self.get("/-/ready") is not None)

    def get(self, path):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(self.prometheus), timeout=20)
            connection.request("GET", path)
            answer = connection.getresponse()
            return (answer.status, answer.read()) if answer.status != 503 else None
        except ConnectionError:
            return None

    def ask(self, query):
        status, body = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", f"{answer.get('error')}: {query}"
        assert not answer.get("warnings"), (answer["warnings"], query)
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def shows(self, query, patience=PATIENCE):
        """What is answered, once there is a number in it."""
        numbers = lambda: [series for series in self.ask(query) if not math.isnan(series[1])]
        return until(f"an answer to {query}", numbers, patience)


def seen(pod, port_number, label="sidecar", port="innopaas-admin", phase="Running", controller=None):
    """A pod's port as Prometheus discovers it."""
    about = {
        "namespace": "n",
        "pod_name": pod,
        "pod_phase": phase,
        "pod_container_name": "innopaas-proxy",
        "pod_container_init": "true",
        "pod_container_port_name": port,
    }
    if label is not None:
        about |= {"pod_label_innopaas_proxy": label, "pod_labelpresent_innopaas_proxy": "true"}
    if controller:
        about |= {"pod_controller_kind": controller[0], "pod_controller_name": controller[1]}
    labels = {f"__meta_kubernetes_{name}": value for name, value in about.items()}
    return {"targets": [f"127.0.0.1:{port_number}"], "labels": labels}


def as_the_operator_does(monitor, discovered):
    """The scrape configuration that the Prometheus operator makes of a PodMonitor; only quicker."""
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    meta = "__meta_kubernetes_pod_"
    relabel = [{"source_labels": [meta + "phase"], "regex": "(Failed|Succeeded)", "action": "drop"}]
    for expression in spec["selector"]["matchExpressions"]:
        assert expression["operator"] == "In"
        key = expression["key"].replace("-", "_")
        sources = [f"{meta}label_{key}", f"{meta}labelpresent_{key}"]
        relabel.append(
            {"source_labels": sources, "regex": f"({'|'.join(expression['values'])});true", "action": "keep"}
        )
    relabel.append(
        {"source_labels": [meta + "container_port_name"], "regex": endpoint["port"], "action": "keep"}
    )
    for source, label in [
        ("__meta_kubernetes_namespace", "namespace"),
        (meta + "container_name", "container"),
        (meta + "name", "pod"),
    ]:
        relabel.append({"source_labels": [source], "target_label": label})
    relabel.append({"target_label": "job", "replacement": f"monitoring/{monitor['metadata']['name']}"})
    relabel.append({"target_label": "endpoint", "replacement": endpoint["port"]})
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label", "regex": "regex"}
    relabel += [{names[field]: value for field, value in each.items()} for each in endpoint["relabelings"]]
    return {
        "job_name": f"podMonitor/monitoring/{monitor['metadata']['name']}/0",
        "metrics_path": endpoint["path"],
        "sample_limit": spec["sampleLimit"],
        "static_configs": discovered,
        "relabel_configs": relabel,
    }


# Cases on it.


def the_monitor_finds_the_right_pods(cluster):
    up = until(
        "six targets", lambda: len(cluster.ask('up{endpoint="innopaas-admin"}')) >= 6 and cluster.ask("up")
    )
    found = {m["pod"]: (m["workload"], m["namespace"], m["container"]) for m, _ in up if m.get("endpoint")}
    workloads = {
        "shop-1": "shop",
        "shop-2": "shop",
        "club-0": "club",
        "bare": "bare",
        "nightly-29401234-x7k2p": "nightly",
        "gone": "gone",
    }
    assert found == {pod: (workload, "n", "innopaas-proxy") for pod, workload in workloads.items()}, found
    until(
        "all but one up", lambda: sum(value for _, value in cluster.ask('up{endpoint="innopaas-admin"}')) == 5
    )


def the_limit_of_samples_leaves_room(cluster):
    most = max(value for _, value in cluster.shows('scrape_samples_scraped{endpoint="innopaas-admin"}'))
    assert most * 2 < MONITOR["spec"]["sampleLimit"], most
    return f"{most:.0f} of {MONITOR['spec']['sampleLimit']}"


def promtool_takes_the_metrics(cluster):
    connection = http.client.HTTPConnection("127.0.0.1", cluster.pods["shop-1"][1], timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    shown = set(re.findall(r"^(innopaas_proxy_\w+?)(?:_bucket|_sum|_count)?[{ ]", text, re.M))
    assert shown == METRICS, shown ^ METRICS
    # promtool reads the format from before OpenMetrics: a counter is called as its samples are, and
    # there is no `info`, `UNIT` or `EOF`.
    text = re.sub(r"^# (UNIT .*|EOF)\n", "", text, flags=re.M)
    for name, kind in re.findall(r"^# TYPE (\w+) (counter|info)$", text, re.M):
        suffix = {"counter": "_total", "info": "_info"}[kind]
        text = re.sub(rf"^# (HELP|TYPE) {name} ", rf"# \1 {name}{suffix} ", text, flags=re.M)
    output("promtool", "check", "metrics", stdin=text.replace(" info\n", " gauge\n"))
    return f"{len(shown)} metrics"


def things_happen(cluster):
    """Good and bad calls, a refused pair, webhooks; after all counters were scraped at 0."""
    # Two scrapes, and two evaluations of what is recorded.
    until(
        "recorded counters", lambda: cluster.ask("count_over_time(pod:innopaas_proxy_calls:total[1m]) >= 2")
    )
    until(
        "the same of all pods",
        lambda: len(cluster.ask("count_over_time(pod:innopaas_proxy_errors:total[1m]) >= 2")) >= 25,
    )
    shop, hook = cluster.pods["shop-1"][0], cluster.pods["shop-1"][2]
    statuses = [call(cluster.pods[pod][0]) for pod in ("shop-1", "shop-2") for _ in range(5)]
    assert set(statuses) == {200}, statuses
    assert [call(shop, content_type="text/plain"), call(shop, path="/elsewhere")] == [415, 403]
    with socket.create_connection(("127.0.0.1", shop)) as raw:
        raw.sendall(b"no request\r\n\r\n")
        assert b" 400 " in raw.recv(4096)
    for act, status in [("reset", 502), ({"status-429": {}}, 429), ("redirect", 302)]:
        cluster.control("act", {"act": act, "times": 1})
        assert call(shop) == status, act
    assert {call(cluster.pods["club-0"][0]) for _ in range(3)} == {502}
    assert {call(cluster.pods["bare"][0]) for _ in range(3)} == {503}
    # Refused, and sent once more over the standby; on a second path, so that all calls go over it.
    cluster.control("expire")
    assert {
        call(shop, path) for path in ("/api/sms/v3/msg/send", "/api/otp/v3/otp/send") for _ in range(2)
    } & {200}
    order = {"url": f"http://127.0.0.1:{hook}/", "pause_ms": 100, "tries": 1}
    for event, count in [("sms_status", 5), ("sms_uplink", 1), ("whatsapp_sandbox_event", 1)]:
        cluster.control("webhook", order | cluster.values | {"event": event, "count": count})
    cluster.control("webhook", order | {"event": "sms_status", "user_name": "shop", "authorization": "other"})
    outcomes = ("delivered", "undelivered", "unroutable", "refused")
    for outcome in outcomes:
        cluster.shows(f'innopaas_proxy_webhook_events_total{{outcome="{outcome}"}} > 0')
    Application.answer = 500
    cluster.control("webhook", order | cluster.values | {"event": "sms_status"})
    cluster.shows('innopaas_proxy_webhook_events_total{status_class="5xx"} > 0')


def faults_are_told_apart(cluster):
    """Each error has reached the share of its origin, at the pod that it happened at."""
    for workload, origin in [
        ("shop", "application"),
        ("shop", "innopaas"),
        ("club", "network"),
        ("bare", "operator"),
    ]:
        share = f'workload:innopaas_proxy_errors:share10m{{workload="{workload}",origin="{origin}"}}'
        cluster.shows(f"{share} > 0")
    others = cluster.ask(
        'workload:innopaas_proxy_errors:share10m{workload=~"club|bare",origin=~"application|innopaas.*"} > 0'
    )
    assert not others, others
    for workload, origin in [("club", "network"), ("bare", "operator")]:
        ((_, share),) = cluster.shows(
            f'workload:innopaas_proxy_errors:share_if_many{{workload="{workload}",origin="{origin}"}}'
        )
        assert share == 1, (workload, share)


def a_refused_pair_is_seen(cluster):
    cluster.shows('innopaas_proxy_credential_serving{pod="shop-1",pair="standby"} == 1')
    cluster.shows('innopaas_proxy_refusal_repeats_total{pod="shop-1",with="standby"} > 0')
    # The two that share a key agree on both pairs, and the one without a key does not.
    ((_, pairs),) = cluster.shows('workload:innopaas_proxy_pairs:count{workload="shop",pair="primary"}')
    ((_, per_pod),) = cluster.shows('workload:innopaas_proxy_pairs:per_pod{workload="shop",pair="primary"}')
    assert (pairs, per_pod) == (1, 0.5), (pairs, per_pod)


def pending_alerts_can_be_read(cluster):
    def pending():
        groups = json.loads(cluster.get("/api/v1/rules?type=alert")[1])["data"]["groups"]
        bad = [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]
        assert not bad, bad
        return {rule["name"]: rule["alerts"] for group in groups for rule in group["rules"] if rule["alerts"]}

    due = {"NoPair", "TokenExpiresSoon", "OnStandby", "ErrorsOfNetwork", "ErrorsOfOperator", "AllDown"}
    due = {f"InnopaasProxy{name}" for name in due}
    until(lambda: f"pending: {due - set(pending())}", lambda: due <= set(pending()))
    for name, alerts in pending().items():
        for alert in alerts:
            for text in alert["annotations"].values():
                assert "<no value>" not in text and "<error" not in text, (name, text)
    return pending()["InnopaasProxyErrorsOfNetwork"][0]["annotations"]["summary"]


CHOSEN = {"namespace": "n", "workload": "shop", "pod": "shop-1"}


def answers_the_dashboard(cluster, title, query, legend, patience=10):
    """Whether all is chosen or one pod, there is an answer, whose series have what the legend names."""
    cluster.shows(filled(query, **CHOSEN), patience)
    for metric, _ in cluster.shows(filled(query), patience):
        missing = set(re.findall(r"\{\{(\w+)\}\}", legend)) - set(metric)
        assert not missing, f"{title}: no {missing} in {metric}"


def every_query_of_the_dashboard_has_an_answer(cluster):
    queries = list(dashboard_queries())
    for title, query, legend in queries:
        answers_the_dashboard(cluster, title, query, legend)
    for variable in DASHBOARD["templating"]["list"][1:]:
        query, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        assert all(label in metric for metric, _ in cluster.shows(filled(query))), variable["name"]
    return f"{len(queries)} queries"


def every_part_of_the_rules_has_series(cluster):
    parts = set()
    for rule in ALL_RULES:
        cluster.ask(rule["expr"])
        for name, matchers in selectors(rule["expr"]):
            parts |= set(alternatives(name, matchers))
    # That is only there if there is reason to be: the shares that are too many. `origin` is judged
    # by what is recorded.
    for part in sorted(parts):
        if part.startswith("workload:innopaas_proxy_errors:share_if_many"):
            part = part.replace("share_if_many", "increase10m")
        cluster.shows(part, 10)
    return f"{len(parts)} selectors"


def alternatives(name, matchers):
    """The selector once for each value of a list, because one of them may be misspelt."""
    lists = [(label, value.split("|")) for label, operator, value in matchers]
    one_each = [[]]
    for label, values in lists:
        one_each = [chosen + [f'{label}="{value}"'] for chosen in one_each for value in values]
    return [name + "{" + ",".join(chosen) + "}" for chosen in one_each]


def is_noticed(check, *arguments):
    try:
        check(*arguments)
    except AssertionError as error:
        return str(error).splitlines()[0][:110]
    raise AssertionError("it was not noticed")


def without_wait(rules):
    for rule in rules:
        if "for" in rule:
            rule["for"] = "0m"


def with_a_misspelt_metric(rules):
    for rule in rules:
        rule["expr"] = rule["expr"].replace("credential_generation", "credentials_generation")


def main():
    cases = Cases()
    # What was started is ended then as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    install({"prometheus": "prometheus", "promtool": "prometheus"})
    for case in (
        the_monitor_has_known_fields,
        the_monitor_names_the_sidecars_port_and_label,
        the_rules_have_known_fields,
        an_alert_speaks_of_labels_that_it_has,
        each_alert_has_its_section,
        each_panel_that_a_section_names_exists,
        each_code_has_the_origin_of_the_document,
        every_name_is_documented,
        every_metric_is_in_the_dashboard,
        the_dashboard_is_well_formed,
        the_kustomization_renders,
    ):
        cases.run(case.__name__.replace("_", " "), case)
    with tempfile.TemporaryDirectory(prefix="monitoring-") as directory:
        cases.run("promtool takes the rules", promtool_takes_the_rules, directory)
        cases.run("alerts fire when they must", alerts_fire_when_they_must, directory)
        cases.run("alerts that do not wait are noticed", a_rule_is_noticed_that, without_wait, directory)
        cases.run(
            "a rule with a misspelt metric is noticed",
            a_rule_is_noticed_that,
            with_a_misspelt_metric,
            directory,
        )
    for name, query in [
        ("a metric that nobody documents", "sum(rate(innopaas_proxy_request_total[5m]))"),
        ("a label that nobody documents", "sum by (outcomes) (innopaas_proxy_requests_total)"),
        ("a value that nobody documents", 'innopaas_proxy_requests_total{outcome=~"answered|refused_"}'),
    ]:
        cases.run(f"{name} is noticed", is_noticed, judge, query)
    with tempfile.TemporaryDirectory(prefix="monitoring-") as directory:
        processes = Processes(directory)
        try:
            cluster = cases.run("proxies, a sandbox and Prometheus start", Cluster, processes)
            if cluster:
                try_live(cases, cluster)
        finally:
            processes.end()
    cases.end()


def try_live(cases, cluster):
    for case in (
        the_monitor_finds_the_right_pods,
        the_limit_of_samples_leaves_room,
        promtool_takes_the_metrics,
        things_happen,
        faults_are_told_apart,
        a_refused_pair_is_seen,
        pending_alerts_can_be_read,
        every_query_of_the_dashboard_has_an_answer,
        every_part_of_the_rules_has_series,
    ):
        cases.run(case.__name__.replace("_", " "), case, cluster)
    for name, query in [
        ("a panel of a misspelt metric", "sum(innopaas_proxy_request_in_flight)"),
        ("a panel of a misspelt label", 'sum(innopaas_proxy_calls_held{pods=~"$pod"})'),
        ("a panel of a misspelt value", 'sum(innopaas_proxy_requests_total{outcome="anwered"})'),
    ]:
        cases.run(f"{name} is noticed", is_noticed, answers_the_dashboard, cluster, name, query, "", 2)
    cases.run(
        "a legend of a label that is summed away is noticed",
        is_noticed,
        answers_the_dashboard,
        cluster,
        "legend",
        "sum by (pod) (up)",
        "{{workload}}",
    )


if __name__ == "__main__":
    main()
