"""Small breakages of good manifests, each with what must be said about it: how we know that the
checks of kubernetes.py can fail."""

class Gone:
    """Instead of a value: the field goes."""

    def __repr__(self):
        return "gone"


GONE = Gone()

BASE_URL = {"name": "INNOPAAS_BASE_URL", "value": "http://127.0.0.1:7253"}
PAIR_MOUNTED = [{"name": "innopaas", "mountPath": "/secrets", "readOnly": True}]
PAIR_IN_ENV = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "innopaas", "key": "authorization"}}}
OTHER = {"name": "other", "image": "other:1.0.0"}

# Overlay, object, path, value, what is said. A path goes down from the object, or, after a colon, from
# the pod's spec, its labels, the proxy, the application, or the proxy's environment by name. `+` is a
# new entry in a list, before all others.
MUTANTS = [
    # restart
    ("web", "Deployment/shop", "app:restartPolicy", "Always", "shop: restartPolicy is for initContainers only"),
    ("web", "Deployment/shop", "proxy:restartPolicy", "always", "restartPolicy is Always or absent"),
    ("web", "Deployment/shop", "proxy:restartPolicy", GONE, "the proxy is no sidecar"),
    ("web", "Deployment/shop", "pod:restartPolicy", "OnFailure", "restartPolicy OnFailure is not for a Deployment"),
    ("job", "Job/newsletter", "pod:restartPolicy", "Always", "restartPolicy Always is not for a Job"),
    ("cronjob", "CronJob/reminders", "pod:restartPolicy", GONE, "restartPolicy None is not for a CronJob"),
    # sidecar
    ("web", "Deployment/shop", "labels:innopaas-proxy", GONE, "belong together"),
    ("web", "Deployment/shop", "pod:initContainers", [], "belong together"),
    ("web", "Deployment/shop", "pod:initContainers/+", OTHER, "not the first of initContainers"),
    ("web", "Deployment/shop", "proxy:startupProbe", GONE, "the proxy has no startupProbe"),
    ("older", "Deployment/shop", "pod:restartPolicy", "Never", "it would never end"),
    ("older", "Deployment/shop", "pod:containers/+", OTHER, "not the first of containers"),
    ("older", "Deployment/shop", "proxy:lifecycle", GONE, "no postStart that waits"),
    ("older", "Deployment/shop", "proxy:lifecycle/postStart/exec/command/1", "health", "no postStart that waits"),
    ("older", "Deployment/shop", "proxy:lifecycle/postStart/exec/command/3", "readyz", "no postStart that waits"),
    ("web", "Deployment/shop", "proxy:resources/limits/memory", "48Mi", "200 calls and 0 webhooks can take more"),
    ("web", "Deployment/shop", "proxy:env/1/value", "2048", "2048 calls and 0 webhooks can take more"),
    ("webhook", "Deployment/shop", "proxy:env/3/value", "256", "200 calls and 256 webhooks can take more"),
    ("web", "Deployment/shop", "pod:enableServiceLinks", GONE, "enableServiceLinks is not false"),
    # profile
    ("web", "Deployment/shop", "pod:hostNetwork", True, "hostNetwork is not restricted"),
    ("web", "Deployment/shop", "pod:hostPID", True, "hostPID is not restricted"),
    ("web", "Deployment/shop", "pod:hostIPC", True, "hostIPC is not restricted"),
    ("web", "Deployment/shop", "pod:shareProcessNamespace", True, "shareProcessNamespace"),
    ("web", "Deployment/shop", "pod:securityContext/sysctls", [{"name": "a", "value": "b"}], "sysctls"),
    ("web", "Deployment/shop", "pod:volumes/+", {"name": "host", "hostPath": {"path": "/"}}, "volume host: hostPath is not restricted"),
    ("web", "Deployment/shop", "app:securityContext/privileged", True, "shop: privileged"),
    ("web", "Deployment/shop", "proxy:securityContext/allowPrivilegeEscalation", GONE, "allowPrivilegeEscalation is not false"),
    ("web", "Deployment/shop", "app:securityContext/capabilities", GONE, "capabilities.drop has no ALL"),
    ("web", "Deployment/shop", "app:securityContext/capabilities/add", ["NET_ADMIN"], "capabilities are added"),
    ("web", "Deployment/shop", "pod:securityContext/runAsNonRoot", GONE, "shop: runAsNonRoot is not true"),
    ("web", "Deployment/shop", "proxy:securityContext/runAsNonRoot", False, "innopaas-proxy: runAsNonRoot is not true"),
    ("web", "Deployment/shop", "app:securityContext/runAsUser", 0, "runAsUser is 0"),
    ("web", "Deployment/shop", "pod:securityContext/seccompProfile", GONE, "shop: seccompProfile is not RuntimeDefault"),
    ("web", "Deployment/shop", "app:securityContext/procMount", "Unmasked", "procMount"),
    ("web", "Deployment/shop", "app:securityContext/seLinuxOptions", {"type": "spc_t"}, "seLinuxOptions"),
    ("web", "Deployment/shop", "app:ports/0/hostPort", 80, "a hostPort"),
    ("web", "Deployment/shop", "proxy:livenessProbe/httpGet/host", "127.0.0.1", "a probe or hook names a host"),
    ("web", "Deployment/shop", "app:securityContext/readOnlyRootFilesystem", GONE, "readOnlyRootFilesystem is not true"),
    # containers
    ("web", "Deployment/shop", "app:name", "innopaas-proxy", "two containers have one name"),
    ("web", "Deployment/shop", "proxy:image", "innopaas-proxy:latest", "may be another one tomorrow"),
    ("web", "Deployment/shop", "proxy:image", "localhost:5000/innopaas-proxy", "may be another one tomorrow"),
    ("web", "Deployment/shop", "app:image", GONE, "the image that is not there"),
    ("web", "Deployment/shop", "proxy:resources/limits", GONE, "innopaas-proxy: no limit of memory"),
    ("web", "Deployment/shop", "app:env/+", BASE_URL, "a name stands twice in env"),
    ("web", "Deployment/shop", "app:env/0/valueFrom", {"fieldRef": {"fieldPath": "status.podIP"}}, "has value and valueFrom"),
    # users
    ("web", "Deployment/shop", "pod:securityContext/runAsUser", GONE, "shop: no runAsUser"),
    ("web", "Deployment/shop", "proxy:securityContext/runAsUser", GONE, "has the user 65533 of innopaas-proxy"),
    ("older", "Deployment/shop", "app:securityContext/runAsUser", 65532, "has the user 65532 of innopaas-proxy"),
    # volumes
    ("web", "Deployment/shop", "pod:volumes/0/emptyDir", {}, "has 2 sources"),
    ("web", "Deployment/shop", "pod:volumes/0/secret", GONE, "has 0 sources"),
    ("web", "Deployment/shop", "pod:volumes/+", {"name": "innopaas", "emptyDir": {}}, "two volumes have one name"),
    ("web", "Deployment/shop", "pod:volumes/+", {"name": "spare", "emptyDir": {}}, "nobody mounts the volume spare"),
    ("web", "Deployment/shop", "pod:volumes", [], "there is no volume innopaas"),
    ("standby", "Deployment/shop", "proxy:volumeMounts/0/mountPath", "/var/run/secrets/innopaas", "two mounts have one path"),
    # secrets
    ("web", "Deployment/shop", "app:volumeMounts", PAIR_MOUNTED, "shop: mounts the secret volume innopaas"),
    ("csi", "Deployment/shop", "app:volumeMounts", PAIR_MOUNTED, "shop: mounts the secret volume innopaas"),
    ("web", "Deployment/shop", "proxy:volumeMounts/0/subPath", "app-key", "a subPath of innopaas is never replaced"),
    ("web", "Deployment/shop", "proxy:volumeMounts/0/readOnly", GONE, "is not mounted readOnly"),
    ("web", "Deployment/shop", "app:env/+", PAIR_IN_ENV, "innopaas in the environment is never replaced"),
    ("web", "Deployment/shop", "app:envFrom", [{"secretRef": {"name": "innopaas"}}], "innopaas in the environment is never replaced"),
    # ports
    ("web", "Deployment/shop", "proxy:ports/0/name", "innopaas-administration", "is no name of a port"),
    ("web", "Deployment/shop", "app:ports/0/name", "innopaas-admin", "two ports have one name"),
    ("web", "Deployment/shop", "app:ports/+", {"containerPort": 7255}, "two containers have one port"),
    ("web", "Deployment/shop", "app:readinessProbe/httpGet/port", "web", "shop: probes the port web"),
    ("web", "Deployment/shop", "proxy:readinessProbe/httpGet/port", 7253, "innopaas-proxy: probes the port 7253"),
    ("web", "Deployment/shop", "proxy:livenessProbe", {"exec": {"command": ["sh", "-c", "true"]}}, "the image has nothing to run"),
    ("older", "Deployment/shop", "proxy:lifecycle/postStart/exec/command/1", "await", "the image has nothing to run"),
    # settings
    ("web", "Deployment/shop", "proxy:env", [], "does not listen on port 7255"),
    ("web", "Deployment/shop", "proxy:ports", [], "listens on port 7255, which its ports do not say"),
    ("web", "Deployment/shop", "proxy:livenessProbe/httpGet/path", "/healthz", "a probe goes to /healthz"),
    ("web", "Deployment/shop", "env:INNOPAAS_PROXY_ADMIN__ADDRESS", "0.0.0.0:9000", "a probe goes to /startupz of port 7255"),
    ("webhook", "Deployment/shop", "env:INNOPAAS_PROXY_WEBHOOK__DEFAULT", "http://127.0.0.1:8081/x", "8081/x, where no container listens"),
    ("webhook", "Deployment/shop", "env:INNOPAAS_PROXY_WEBHOOK__ROUTES", "app=shop to=http://127.0.0.1:8082/x", "8082/x, where no container"),
    ("web", "Deployment/shop", "app:env", [], "no container has INNOPAAS_BASE_URL"),
    ("web", "Deployment/shop", "app:env/0/value", "http://localhost:7254", "but the proxy listens at"),
    ("web", "Deployment/shop", "env:INNOPAAS_PROXY_LISTEN__ADDRESS", "127.0.0.1:7000", "the proxy listens at http://127.0.0.1:7000"),
    ("web", "Deployment/shop", "pod:terminationGracePeriodSeconds", 54, "less than 30 s for the application and 25 s"),
    ("web", "Deployment/shop", "pod:terminationGracePeriodSeconds", GONE, "a grace period of 30 s is less"),
    ("job", "Job/newsletter", "env:INNOPAAS_PROXY_DRAIN__MAXIMUM", "40s", "and 40 s of drain.maximum"),
    ("older", "Deployment/shop", "env:INNOPAAS_PROXY_DRAIN__MINIMUM", GONE, "drain.minimum 2 s is less"),
    ("older", "Deployment/shop", "env:INNOPAAS_PROXY_DRAIN__MAXIMUM", "35s", "leaves calls no time"),
    ("older", "Deployment/shop", "pod:terminationGracePeriodSeconds", 55, "less than drain.maximum 55 s and 5 s"),
    ("web", "Deployment/shop", "proxy:args", ["dev"], "the proxy is started with"),
    ("web", "Deployment/shop", "proxy:command", ["/bin/sh"], "the proxy is started with"),
    ("web", "Deployment/shop", "proxy:args", ["run", "--nonsense"], "check: exit code 64"),
    ("web", "Deployment/shop", "proxy:env/0", {"name": "INNOPAAS_PROXY_CONFIG", "valueFrom": {}}, "has no value that can be tried"),
    ("web", "Deployment/shop", "proxy:envFrom", [{"configMapRef": {"name": "x"}}], "envFrom has no values that can be tried"),
    ("web", "Deployment/shop", "env:INNOPAAS_PROXY_ADMIN__ADRESS", "0.0.0.0:7255", "unknown environment name"),
    ("web", "Deployment/shop", "env:INNOPAAS_PROXY_DRAIN__MAXIMUM", "25", "check: exit code 64"),
    ("webhook", "Deployment/shop", "env:INNOPAAS_PROXY_WEBHOOK__DEFAULT", GONE, "events must go somewhere"),
    ("standby", "Deployment/shop", "env:INNOPAAS_PROXY_CREDENTIALS__STANDBY__DIRECTORY", "/standby", "no volume is mounted at /standby"),
    ("web", "Deployment/shop", "proxy:volumeMounts/0/mountPath", "/innopaas", "no volume is mounted at /var/run/secrets/innopaas"),
    ("web", "Deployment/shop", "pod:volumes/0/secret/optional", True, "none now"),
    # workloads and what points to them
    ("web", "Deployment/shop", "labels:app", "other", "its selector does not match its own pods"),
    ("web", "Deployment/shop", "spec/selector/matchLabels/innopaas-proxy", "sidecar", "cannot be changed later"),
    ("web", "Service/shop", "spec/selector/app", "other", "Service/shop: its selector matches no pod"),
    ("web", "Service/shop", "spec/selector", GONE, "Service/shop: its selector matches no pod"),
    ("web", "Service/shop", "metadata/namespace", "other", "Service/shop: its selector matches no pod"),
    ("web", "Service/shop", "spec/ports/0/targetPort", 8081, "has the port 8081"),
    ("web", "Service/shop", "spec/ports/0/targetPort", GONE, "has the port 80"),
    ("webhook", "Service/innopaas-webhook", "spec/ports/0/targetPort", "innopaas-hook", "targetPort innopaas-hook is the name of no port"),
    ("webhook", "Ingress/innopaas-webhook", "spec/rules/0/http/paths/0/backend/service/name", "shops", "there is no Service shops"),
    ("webhook", "Ingress/innopaas-webhook", "spec/rules/0/http/paths/0/backend/service/port/number", 80, "has no port {'number': 80}"),
    ("webhook", "Ingress/innopaas-webhook", "spec/tls", GONE, "hooks.example.com is served without TLS"),
    ("webhook", "Ingress/innopaas-webhook", "spec/tls/0/hosts/0", "example.com", "hooks.example.com is served without TLS"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/podSelector/matchLabels/innopaas-proxy", "on", "its podSelector matches no pod"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/ingress/0/ports/0/port", "innopaas-admin", "a name of an init container's port"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/ingress/0/ports/0/port", 7254, "no pod that it selects has the port 7254"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/egress/1/to/0/ipBlock/except/3", "169.254.169.254/32", "egress to 169.254.0.0/16 is open"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/egress/1/to", GONE, "egress to 10.0.0.0/8"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/egress/1/to/+", {"ipBlock": {"cidr": "::/0"}}, "egress to fc00::/7, fe80::/10 is open"),
    ("web", "PodDisruptionBudget/shop", "spec/selector/matchLabels/app", "other", "PodDisruptionBudget/shop: its selector matches no pod"),
    ("web", "PodDisruptionBudget/shop", "spec/minAvailable", 2, "no pod may ever be evicted"),
    ("web", "Deployment/shop", "spec/replicas", 1, "no pod may ever be evicted"),
    ("monitored", "PodMonitor/innopaas-proxy", "spec/selector/matchLabels/innopaas-proxy", "on", "PodMonitor/innopaas-proxy: its selector"),
    ("monitored", "PodMonitor/innopaas-proxy", "spec/podMetricsEndpoints/0/port", "admin", "has no port admin"),
    # what policies close, and what is not there
    ("monitored", "NetworkPolicy/innopaas-proxy", "spec/ingress", GONE, "PodMonitor/innopaas-proxy wants the port 7255"),
    ("web", "NetworkPolicy/shop", "spec/ingress/0/ports/0/port", 7255, "Service/shop wants the port 8080"),
    ("webhook", "NetworkPolicy/innopaas-webhook", "spec/ingress", [], "Service/innopaas-webhook wants the port 7254"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/egress/1", GONE, "lets it out to port 443"),
    ("web", "NetworkPolicy/innopaas-proxy", "spec/egress/0/ports/0", GONE, "lets it out to port 53 by UDP"),
    ("csi", "SecretProviderClass/innopaas", "metadata/name", "pair", "there is no SecretProviderClass innopaas"),
    ("external-secrets", "ExternalSecret/innopaas", "spec/target/name", "innopaas-pair", "no pod mounts the Secret that it makes"),
]

# The same for the schemas.
INVALID = [
    ("web", "Deployment/shop", "spec/replica", 2, "replica"),
    ("web", "Deployment/shop", "proxy:restartPolicyy", "Always", "restartPolicyy"),
    ("web", "Deployment/shop", "pod:terminationGracePeriodSeconds", "60", "terminationGracePeriodSeconds"),
    ("web", "Deployment/shop", "app:env/0/value", 7253, "7253"),
    ("web", "Service/shop", "apiVersion", "v2", "is not known"),
    ("webhook", "Ingress/innopaas-webhook", "spec/rules/0/http/paths/0/pathType", GONE, "pathType"),
    ("cronjob", "CronJob/reminders", "apiVersion", "batch/v1beta1", "is not known"),
    ("external-secrets", "ExternalSecret/innopaas", "spec/refreshIntervall", "1m", "refreshIntervall"),
    ("external-secrets", "ExternalSecret/innopaas", "spec/refreshInterval", "often", "refreshInterval"),
    ("external-secrets", "ExternalSecret/innopaas", "spec/dataFrom", GONE, "not valid"),
    ("external-secrets", "ExternalSecret/innopaas", "apiVersion", "external-secrets.io/v1beta1", "is not known"),
    ("csi", "SecretProviderClass/innopaas", "spec/provider", GONE, "provider"),
    ("csi", "SecretProviderClass/innopaas", "spec/secretObjects", [], "secretObjects"),
    ("csi", "SecretProviderClass/innopaas", "spec/parameters/objects", [{"objectName": "app-key"}], "parameters.objects"),
    ("monitored", "PodMonitor/innopaas-proxy", "spec/endpoints", [], "endpoints"),
    ("monitored", "PodMonitor/innopaas-proxy", "spec/podMetricsEndpoints", GONE, "podMetricsEndpoints"),
]

# What "monitored" adds to "web": a PodMonitor as small as one can be, of which each word can be broken.
MONITOR = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PodMonitor",
    "metadata": {"name": "innopaas-proxy", "namespace": "shop"},
    "spec": {"selector": {"matchLabels": {"innopaas-proxy": "sidecar"}}, "podMetricsEndpoints": [{"port": "innopaas-admin"}]},
}
