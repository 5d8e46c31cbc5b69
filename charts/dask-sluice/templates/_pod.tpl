{{/* What all pods of the chart have in common; give (dict "root" $ "pod" .Values.server "component" "server"). */}}

{{- define "dask-sluice.podMetadata" -}}
{{- with .pod.annotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{/* Without the versions of chart and server, which would make new pods where only they have changed. */ -}}
labels:
  {{- include "dask-sluice.selector" (list .root .component) | nindent 2 }}
  {{- with .root.Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The spec, but for containers and volumes. */}}
{{- define "dask-sluice.podSpec" -}}
{{- $placement := .root.Values.placement }}
{{- $own := .pod.placement | default dict -}}
{{/* Variables for each Service of the namespace: only a hub is looked for by them. */ -}}
enableServiceLinks: {{ .links | default false }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- $context := dict "runAsNonRoot" true "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") }}
  {{- if eq .root.Values.podIds "chart" }}{{ $_ := merge $context (dict "runAsUser" 1000 "runAsGroup" 1000 "fsGroup" 1000) }}{{ end }}
  {{- mergeOverwrite $context (deepCopy .pod.podSecurityContext) | toYaml | nindent 2 }}
{{- with hasKey $own "nodeSelector" | ternary $own.nodeSelector $placement.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with hasKey $own "tolerations" | ternary $own.tolerations $placement.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with hasKey $own "affinity" | ternary $own.affinity $placement.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with hasKey $own "priorityClassName" | ternary $own.priorityClassName $placement.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if .spread }}
topologySpreadConstraints:
  {{- with hasKey $own "topologySpreadConstraints" | ternary $own.topologySpreadConstraints $placement.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "dask-sluice.selector" (list .root .component) | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .pod.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A container, but for arguments, ports and probes. */}}
{{- define "dask-sluice.container" -}}
image: {{ include "dask-sluice.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .pod.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- $context := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) }}
  {{- mergeOverwrite $context (deepCopy .pod.securityContext) | toYaml | nindent 2 }}
{{- with .pod.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .pod.resources | nindent 2 }}
{{- end }}

{{/* The existing Secrets of `server.secrets`, by number: a volume's name is shorter than a Secret's may be. */}}
{{- define "dask-sluice.secretVolumes" -}}
{{- range $index, $name := .Values.server.secrets }}
{{- if $index }}
{{ end -}}
{{- if kindIs "string" $name -}}
- {name: secret-{{ $index }}, secret: {secretName: {{ $name }}}}
{{- else -}}
- name: secret-{{ $index }}
  secret:
    secretName: {{ $name.name }}
    items:
      {{- range $name.keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dask-sluice.secretMounts" -}}
{{- range $index, $name := .Values.server.secrets }}
{{- if $index }}
{{ end -}}
- {name: secret-{{ $index }}, mountPath: /etc/dask-sluice/secrets/{{ kindIs "string" $name | ternary $name (dig "name" "" (kindIs "string" $name | ternary dict $name)) }}, readOnly: true}
{{- end }}
{{- end }}
