{{/*
What other charts include. The context is the consumer's own, whose Subcharts hold this chart's scope: its values,
with the consumer's over them, and its appVersion. This chart's own scope does as well, which is how one
dependency with an alias for each workload is told apart: (index .Subcharts "ALIAS").
*/}}

{{/* The native sidecar: an entry of initContainers, before those that call InnoPaaS. */}}
{{- define "innopaas-proxy.sidecar" -}}
{{- $proxy := get .Subcharts "innopaas-proxy" | default . -}}
{{- include "innopaas-proxy.scope" $proxy -}}
{{- with $proxy.Values.sidecar -}}
- name: innopaas-proxy
  image: {{ include "innopaas-proxy.image" $proxy }}
  {{- with $proxy.Values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  restartPolicy: Always
  args: [run]
  env:
    {{- include "innopaas-proxy.environment" (dict "prefix" "INNOPAAS_PROXY_" "settings" (include "innopaas-proxy.sidecarConfig" $proxy | fromJson)) | nindent 4 }}
  ports:
    - { name: innopaas-admin, containerPort: 7255 }
    {{- if .webhook.enabled }}
    - { name: innopaas-hook, containerPort: 7254 }
    {{- end }}
  {{- include "innopaas-proxy.probes" . | nindent 2 }}
  volumeMounts:
    - { name: innopaas, mountPath: /var/run/secrets/innopaas, readOnly: true }
    {{- if .standbySecretName }}
    - { name: innopaas-standby, mountPath: /var/run/secrets/innopaas-standby, readOnly: true }
    {{- end }}
    {{- if .webhook.enabled }}
    - { name: innopaas-webhook, mountPath: /var/run/secrets/innopaas-webhook, readOnly: true }
    - { name: innopaas-webhook-previous, mountPath: /var/run/secrets/innopaas-webhook-previous, readOnly: true }
    {{- end }}
    {{- with .extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "innopaas-proxy.securityContext" $proxy | nindent 4 }}
{{- end }}
{{- end }}

{{/* Entries of the pod's volumes. Only the sidecar mounts them: the application sees no credential. */}}
{{- define "innopaas-proxy.volumes" -}}
{{- $proxy := get .Subcharts "innopaas-proxy" | default . -}}
{{- include "innopaas-proxy.scope" $proxy -}}
{{- with $proxy.Values.sidecar -}}
- { name: innopaas, secret: { secretName: {{ .secretName }} } }
{{- with .standbySecretName }}
- { name: innopaas-standby, secret: { secretName: {{ . }} } }
{{- end }}
{{- if .webhook.enabled }}
- { name: innopaas-webhook, secret: { secretName: {{ .webhook.secretName }} } }
- { name: innopaas-webhook-previous, secret: { secretName: {{ .webhook.previousSecretName }}, optional: true } }
{{- end }}
{{- with .extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* An entry of the application's env: its base URL. */}}
{{- define "innopaas-proxy.env" -}}
{{- $proxy := get .Subcharts "innopaas-proxy" | default . -}}
{{- include "innopaas-proxy.scope" $proxy -}}
{{- $listen := dig "listen" dict ($proxy.Values.sidecar.config | default dict) -}}
{{- $address := $listen.address | default "127.0.0.1:7253" -}}
{{- if hasPrefix "unix:" $address }}
  {{- fail "innopaas-proxy.env: no base URL can name the Unix socket in sidecar.config.listen.address. Leave this include out, and give the application the socket's path in its own way." }}
{{- end -}}
- name: INNOPAAS_BASE_URL
  value: {{ printf "%s://%s" (dig "tls" "certificate_file" "" $listen | empty | ternary "http" "https") $address | quote }}
{{- end }}

{{/* Labels of the pod: by them it is monitored. */}}
{{- define "innopaas-proxy.podLabels" -}}
innopaas-proxy: sidecar
{{- end }}

{{/* Settings of the pod, beside its containers. */}}
{{- define "innopaas-proxy.podSettings" -}}
{{- $proxy := get .Subcharts "innopaas-proxy" | default . -}}
{{- include "innopaas-proxy.scope" $proxy -}}
{{- with $proxy.Values.sidecar -}}
{{- include "innopaas-proxy.drainFits" (dict "of" "sidecar" "values" .) -}}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{/* Ends the rendering if this is the scope of another chart. Renders nothing. */}}
{{- define "innopaas-proxy.scope" -}}
{{- if not (and (hasKey .Values "receiver") (dig "sidecar" "standbySecretName" nil .Values.AsMap | kindIs "string")) -}}
  {{- fail (printf "innopaas-proxy: the chart %s has no dependency of that name. Name it in Chart.yaml without an alias and pass the chart's own context ($ within range and with); if it has an alias, pass (index .Subcharts \"ALIAS\")." .Chart.Name) }}
{{- end -}}
{{- end }}

{{/* The sidecar's settings as JSON: what the chart's values mean, and sidecar.config over it. */}}
{{- define "innopaas-proxy.sidecarConfig" -}}
{{- $sidecar := .Values.sidecar -}}
{{- $config := deepCopy ($sidecar.config | default dict) -}}
{{- $own := dict "admin" (dict "address" "0.0.0.0:7255") "limits" (dict "connections" 200) -}}
{{- include "innopaas-proxy.adminAddress" (dict "of" "sidecar" "config" $config) -}}
{{- if dig "credentials" "directory" "" $config }}
  {{- fail "sidecar.config.credentials.directory: the chart mounts the Secret at /var/run/secrets/innopaas. Take this out, and name another Secret in sidecar.secretName." }}
{{- end -}}
{{- if dig "credentials" "standby" "directory" "" $config }}
  {{- fail "sidecar.config.credentials.standby.directory: the chart writes it. Take this out, and name the Secret in sidecar.standbySecretName." }}
{{- end -}}
{{- if $sidecar.standbySecretName -}}
  {{- if eq $sidecar.standbySecretName $sidecar.secretName }}
    {{- fail "sidecar.standbySecretName: is the Secret of the first pair. A standby is the pair of a second InnoPaaS application, in a Secret of its own." }}
  {{- end -}}
  {{- $_ := set $own "credentials" (dict "standby" (dict "directory" "/var/run/secrets/innopaas-standby")) -}}
{{- end -}}
{{- if dig "webhook" "credentials" "" $config }}
  {{- fail "sidecar.config.webhook.credentials: the chart writes them. Take this out, and set sidecar.webhook.enabled and sidecar.webhook.secretName." }}
{{- end -}}
{{- if $sidecar.webhook.enabled -}}
  {{- if not (or $sidecar.webhook.to (dig "webhook" "routes" "" $config) (dig "webhook" "default" "" $config)) }}
    {{- fail "sidecar.webhook.to: is needed, because events must go somewhere. Such as: http://127.0.0.1:8080/innopaas" }}
  {{- end -}}
  {{- if eq "none" (dig "webhook" "verify" "headers" $config) }}
    {{- fail "sidecar.config.webhook.verify: none does not go with the Secret that the chart mounts. Take this out." }}
  {{- end -}}
  {{- if eq $sidecar.webhook.secretName $sidecar.webhook.previousSecretName }}
    {{- fail "sidecar.webhook.previousSecretName: is the Secret of the present values. Name another one; it need not exist." }}
  {{- end -}}
  {{- $app := $sidecar.webhook.app | default .Release.Name -}}
  {{- $webhook := dict "listen" "0.0.0.0:7254" "connections" 50 -}}
  {{- $_ := set $webhook "credentials" (list (dict "app" $app "current" "/var/run/secrets/innopaas-webhook" "previous" "/var/run/secrets/innopaas-webhook-previous")) -}}
  {{- with $sidecar.webhook.to }}{{ $_ := set $webhook "default" . }}{{ end -}}
  {{- $_ := set $own "webhook" $webhook -}}
{{- end -}}
{{- mergeOverwrite $own $config | toJson -}}
{{- end }}
