{{/* What the receiver's objects have in common. */}}

{{- define "innopaas-proxy.receiver.name" -}}
{{- if .Values.receiver.fullnameOverride -}}
{{ .Values.receiver.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | replace "." "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "innopaas-proxy.receiver.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: receiver
{{- end }}

{{/* `off` keeps the kustomize component from adding a sidecar to the receiver. */}}
{{- define "innopaas-proxy.receiver.metadata" -}}
name: {{ include "innopaas-proxy.receiver.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "innopaas-proxy.receiver.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
  innopaas-proxy: "off"
{{- end }}

{{/*
proxy.yaml as JSON: what the chart's values mean, and receiver.config over it. Without a pair to send with
it must become ready all the same.
*/}}
{{- define "innopaas-proxy.receiver.config" -}}
{{- $receiver := .Values.receiver -}}
{{- $config := deepCopy ($receiver.config | default dict) -}}
{{- include "innopaas-proxy.adminAddress" (dict "of" "receiver" "config" $config) -}}
{{- if dig "webhook" "credentials" "" $config }}
  {{- fail "receiver.config.webhook.credentials: the chart writes them. Take this out, and name the applications and their Secrets in receiver.applications." }}
{{- end -}}
{{- if dig "webhook" "tls" "" $config }}
  {{- fail "receiver.config.webhook.tls: the chart writes it. Take this out, and name the Secret in receiver.tls.secretName." }}
{{- end -}}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\]):7254$" (dig "webhook" "listen" "0.0.0.0:7254" $config)) }}
  {{- fail "receiver.config.webhook.listen: the Service sends to the pod's address, port 7254. Take this out, or where the pod has IPv6 alone write \"[::]:7254\"." }}
{{- end -}}
{{- if not (or (dig "webhook" "routes" "" $config) (dig "webhook" "default" "" $config)) }}
  {{- fail "receiver.config.webhook: needs a default or routes, because events must go somewhere. Such as: default: http://shop.default.svc:8080/innopaas" }}
{{- end -}}
{{- $open := eq "none" (dig "webhook" "verify" "headers" $config) -}}
{{- if and (not $receiver.applications) (not $open) }}
  {{- fail "receiver.applications: names no Secret to verify webhooks with. Such as: [{ app: shop, secretName: innopaas-webhook }]" }}
{{- end -}}
{{- if and $receiver.applications $open }}
  {{- fail "receiver.config.webhook.verify: none lets everybody in, whatever receiver.applications names. Take one of the two out." }}
{{- end -}}
{{- $names := list -}}
{{- $secrets := list -}}
{{- if $receiver.tls.secretName }}{{ $secrets = append $secrets "innopaas-webhook-tls" }}{{ end -}}
{{- $credentials := list -}}
{{- range $receiver.applications -}}
  {{- $entry := dict "app" .app "current" (printf "/var/run/secrets/%s" .secretName) -}}
  {{- $secrets = append $secrets .secretName -}}
  {{- with .previousSecretName -}}
    {{- $secrets = append $secrets . -}}
    {{- $_ := set $entry "previous" (printf "/var/run/secrets/%s" .) -}}
  {{- end -}}
  {{- $names = append $names .app -}}
  {{- $credentials = append $credentials $entry -}}
{{- end -}}
{{- if ne (len $names) (uniq $names | len) }}
  {{- fail "receiver.applications: names an app twice. Its values from before belong into previousSecretName of the one entry." }}
{{- end -}}
{{- if ne (len $secrets) (uniq $secrets | len) }}
  {{- fail "receiver.applications: names a Secret twice. Each application, and its values from before, need a Secret of their own (innopaas-webhook-tls is taken where receiver.tls.secretName is set)." }}
{{- end -}}
{{- $webhook := dict "listen" "0.0.0.0:7254" -}}
{{- with $credentials }}{{ $_ := set $webhook "credentials" . }}{{ end -}}
{{- if $receiver.tls.secretName }}
  {{- $_ := set $webhook "tls" (dict "certificate_file" "/var/run/secrets/innopaas-webhook-tls/tls.crt" "key_file" "/var/run/secrets/innopaas-webhook-tls/tls.key") -}}
{{- end -}}
{{- $own := dict "admin" (dict "address" "0.0.0.0:7255" "ready_without_credentials" true) "webhook" $webhook -}}
{{- mergeOverwrite $own $config | toJson -}}
{{- end }}
