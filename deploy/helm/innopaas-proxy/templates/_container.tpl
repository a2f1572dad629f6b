{{/* What the sidecar and the receiver have in common. */}}

{{- define "innopaas-proxy.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The kubelet asks the pod's address, so admin.address is one that it reaches. */}}
{{- define "innopaas-proxy.probes" -}}
startupProbe: { httpGet: { path: /startupz, port: 7255 }, periodSeconds: 1, failureThreshold: 30 }
readinessProbe: { httpGet: { path: /readyz, port: 7255 }, periodSeconds: 5 }
livenessProbe: { httpGet: { path: /livez, port: 7255 }, timeoutSeconds: 2 }
{{- end }}

{{/* The restricted profile: no value loosens it. */}}
{{- define "innopaas-proxy.securityContext" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
{{- end }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Settings as entries of env. */}}
{{- define "innopaas-proxy.environment" -}}
{{- $entries := list -}}
{{- range $name, $value := .settings -}}
  {{- $name = printf "%s%s" $.prefix (upper $name) -}}
  {{- if kindIs "map" $value -}}
    {{- with include "innopaas-proxy.environment" (dict "prefix" (printf "%s__" $name) "settings" $value) -}}
      {{- $entries = append $entries . -}}
    {{- end -}}
  {{- else if not (kindIs "invalid" $value) -}}
    {{- $entries = append $entries (printf "- name: %s\n  value: %s" $name (include "innopaas-proxy.text" $value | toJson)) -}}
  {{- end -}}
{{- end -}}
{{- join "\n" $entries -}}
{{- end }}

{{/* A value as the environment has it: a list with commas, an entry as `field=value field=value`. */}}
{{- define "innopaas-proxy.text" -}}
{{- if kindIs "slice" . -}}
  {{- $items := list -}}
  {{- range . }}{{ $items = append $items (include "innopaas-proxy.text" .) }}{{ end -}}
  {{- join "," $items -}}
{{- else if kindIs "map" . -}}
  {{- $fields := list -}}
  {{- range $field, $value := . }}{{ $fields = append $fields (printf "%s=%s" $field (include "innopaas-proxy.text" $value)) }}{{ end -}}
  {{- join " " $fields -}}
{{- else if kindIs "float64" . -}}
  {{- int64 . -}}{{/* 1000000 would be 1e+06. */}}
{{- else -}}
  {{- . -}}
{{- end -}}
{{- end }}

{{/* Ends the rendering if the probes would not find the admin endpoints. Renders nothing. */}}
{{- define "innopaas-proxy.adminAddress" -}}
{{- $address := dig "admin" "address" "0.0.0.0:7255" .config -}}
{{- if not (has $address (list "0.0.0.0:7255" "[::]:7255")) -}}
  {{- fail (printf "%s.config.admin.address: probes and Prometheus come to the pod's address, port 7255. Take this out, or where the pod has IPv6 alone write \"[::]:7255\"." .of) }}
{{- end -}}
{{- end }}

{{/* Ends the rendering if the kubelet would kill the proxy before it has drained. Renders nothing. */}}
{{- define "innopaas-proxy.drainFits" -}}
{{- $maximum := dig "drain" "maximum" "25s" (.values.config | default dict) | toString -}}
{{- if not (regexMatch "^[0-9]+(ms|s|m|h)$" $maximum) -}}
  {{- fail (printf "%s.config.drain.maximum: must be a whole number with ms, s, m or h, such as 25s." .of) }}
{{- end -}}
{{- $seconds := regexFind "^[0-9]+" $maximum | int64 -}}
{{- if hasSuffix "ms" $maximum }}{{ $seconds = div $seconds 1000 -}}
{{- else if hasSuffix "m" $maximum }}{{ $seconds = mul $seconds 60 -}}
{{- else if hasSuffix "h" $maximum }}{{ $seconds = mul $seconds 3600 -}}
{{- end -}}
{{- if ge $seconds (int64 .values.terminationGracePeriodSeconds) -}}
  {{- fail (printf "%s.terminationGracePeriodSeconds: the kubelet would kill the proxy before its drain ends. Make it longer than %d s (drain.maximum), by what else has to end before." .of $seconds) }}
{{- end -}}
{{- end }}
