{{/* Names. They are stable: other charts and network policies go by them. */}}

{{- define "dask-sluice.name" -}}
{{- .Values.fullnameOverride | default (include "dask-sluice.releasedName" .) | trunc 44 | trimSuffix "-" -}}
{{- end }}

{{- define "dask-sluice.releasedName" -}}
{{- $chart := .Values.nameOverride | default "dask-sluice" -}}
{{- contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{- end }}

{{- define "dask-sluice.server" -}}{{ include "dask-sluice.name" . }}-server{{- end }}
{{- define "dask-sluice.proxy" -}}{{ include "dask-sluice.name" . }}-proxy{{- end }}

{{- define "dask-sluice.keys" -}}
{{- .Values.keys.existingSecret | default (printf "%s-keys" (include "dask-sluice.name" .)) -}}
{{- end }}

{{- define "dask-sluice.serviceAccount" -}}
{{- $account := .Values.server.serviceAccount -}}
{{- $account.name | default ($account.create | ternary (include "dask-sluice.server" .) "default") -}}
{{- end }}

{{- define "dask-sluice.image" -}}
{{- $image := .Values.image -}}
{{- with $image.digest }}{{ $image.repository }}@{{ . }}{{ else }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* What a selector goes by; give (list $ "server"). */}}
{{- define "dask-sluice.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Values.nameOverride | default "dask-sluice" }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "dask-sluice.labels" -}}
{{- $ := index . 0 -}}
{{ include "dask-sluice.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- with $.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels by which the pods of our clusters are known, see server/backends/kubernetes/names.py. */}}
{{- define "dask-sluice.daskLabels" -}}
{{- $kubernetes := (include "dask-sluice.settings" . | fromJson).backend.kubernetes | default dict -}}
app.kubernetes.io/name: {{ $kubernetes.app_name | default "dask-gateway" }}
gateway.dask.org/instance: {{ $kubernetes.instance | default "dask-sluice" }}
{{- end }}

{{/* Namespaces where clusters run, as a JSON list; those of a template only where they are named. */}}
{{- define "dask-sluice.clusterNamespaces" -}}
{{- $kubernetes := (include "dask-sluice.settings" . | fromJson).backend.kubernetes | default dict -}}
{{- $names := .Values.rbac.namespaces -}}
{{- $own := $kubernetes.namespace | default .Release.Namespace -}}
{{- if not (contains "{" $own) }}{{ $names = prepend $names $own }}{{ end -}}
{{- range $kubernetes.other_namespaces }}{{ if not (contains "*" .) }}{{ $names = append $names . }}{{ end }}{{ end -}}
{{- $names | uniq | toJson -}}
{{- end }}
