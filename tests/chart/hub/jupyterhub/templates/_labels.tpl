{{/* Give (list $ "hub"). */}}
{{- define "jupyterhub.labels" -}}
{{- $ := index . 0 -}}
app: jupyterhub
component: {{ index . 1 }}
release: {{ $.Release.Name }}
app.kubernetes.io/name: jupyterhub
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/instance: {{ $.Release.Name }}
{{- end }}

{{- define "jupyterhub.restricted" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
