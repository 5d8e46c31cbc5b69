{{/* The settings of the server, as JSON: what the chart gives as defaults, under `config`, under what the chart decides. */}}

{{- define "dask-sluice.settings" -}}
{{- $config := .Values.config | default dict -}}
{{- $hasDatabase := dig "database" "url" "" $config | not | not -}}
{{- $kind := dig "backend" "kind" "kubernetes" $config -}}
{{- $port := 8000 -}}
{{- $url := printf "http://%s.%s.svc:%d" (include "dask-sluice.server" .) .Release.Namespace $port -}}
{{- $defaults := dict "listen" (dict "agent_url" $url) "backend" (dict "kind" $kind) -}}
{{- if eq $kind "kubernetes" }}{{ $_ := set $defaults.backend "kubernetes" (dict "instance" (include "dask-sluice.name" .)) }}{{ end -}}
{{- if and (eq $kind "kubernetes") .Values.rbac.namespaces (not .Values.rbac.clusterWide) -}}
{{- $_ := set $defaults.backend.kubernetes "namespaces" .Values.rbac.namespaces -}}
{{- end -}}
{{- if and (eq $kind "kubernetes") (eq .Values.podIds "cluster") -}}
{{- $_ := set $defaults.backend.kubernetes "pods" (dict "run_as_user" "none" "run_as_group" "none" "fs_group" "none") -}}
{{- end -}}
{{- if not $hasDatabase }}{{ $_ := set $defaults "on_stop" "keep_clusters" }}{{ end -}}
{{- $address := contains ":" .Values.listenAddress | ternary (printf "[%s]" .Values.listenAddress) .Values.listenAddress -}}
{{- $listen := dict "for_proxies" (printf "%s:%d" $address $port) "proxy_token" (dict "file" "/etc/dask-sluice/keys/proxy-token") -}}
{{- /* A folder of its own in the volume, whose root belongs to root. */ -}}
{{- $decided := dict "data_dir" "/var/lib/dask-sluice/data" "listen" $listen -}}
{{- if and (eq $kind "kubernetes") .Values.networkPolicy.enabled -}}
{{- $_ := set $decided "backend" (dict "kubernetes" (dict "isolate_clusters" true)) -}}
{{- end -}}
{{- if eq (dig "authenticator" "kind" "token" $config) "token" -}}
{{- $_ := set $decided "authenticator" (dict "token" (dict "file" "/etc/dask-sluice/keys/token")) -}}
{{- end -}}
{{- mergeOverwrite $defaults (deepCopy $config) $decided | toJson -}}
{{- end }}

{{/* Of these, what proxies need: nothing secret. Through an Ingress or a load balancer everybody comes from few addresses. */}}
{{- define "dask-sluice.proxySettings" -}}
{{- $settings := include "dask-sluice.settings" . | fromJson -}}
{{- $listen := pick $settings.listen "prefix" "hello_timeout_s" "proxy_processes" "max_connections_per_address" -}}
{{- $listen = merge $listen (dict "max_connections_per_address" 20000) -}}
{{- if .Values.proxy.tls.secretName -}}
{{- $_ := set $listen "tls_certificate" "/etc/dask-sluice/tls/tls.crt" -}}
{{- $_ := set $listen "tls_key" "/etc/dask-sluice/tls/tls.key" -}}
{{- end -}}
{{- merge (dict "listen" $listen) (pick $settings "log") | toJson -}}
{{- end }}

{{/* Not empty where schedulers wait for whoever needs one. */}}
{{- define "dask-sluice.keepsWarm" -}}
{{- range dig "kubernetes" "warm_schedulers" list (include "dask-sluice.settings" . | fromJson).backend }}{{ if .count }}yes{{ end }}{{ end -}}
{{- end }}

{{- define "dask-sluice.prefix" -}}{{ dig "listen" "prefix" "" (.Values.config | default dict) }}{{- end }}
{{- define "dask-sluice.hasDatabase" -}}{{ dig "database" "url" "" (.Values.config | default dict) }}{{- end }}

{{/* What no schema can see. */}}
{{- define "dask-sluice.check" -}}
{{- $config := .Values.config | default dict -}}
{{- if and (gt (int .Values.server.replicas) 1) (not (include "dask-sluice.hasDatabase" .)) -}}
{{- fail "server.replicas is more than 1, but an SQLite file is for one server: set config.database.url to a PostgreSQL" -}}
{{- end -}}
{{- $kind := dig "backend" "kind" "kubernetes" $config -}}
{{- if eq $kind "local" -}}
{{- fail "config.backend.kind is 'local': clusters would run inside the server's pod; leave it out for 'kubernetes'" -}}
{{- end -}}
{{- $namespace := dig "backend" "kubernetes" "namespace" "" $config -}}
{{- if and .Values.rbac.create (contains "{" $namespace) (not .Values.rbac.clusterWide) (not .Values.rbac.namespaces) -}}
{{- fail "config.backend.kubernetes.namespace gives each user a namespace: name them in rbac.namespaces, or set rbac.clusterWide" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled needs gateway.parentRefs: the Gateways that lead here" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled (not .Values.monitoring.serviceMonitor.tokenSecret.name) -}}
{{- fail "monitoring.serviceMonitor.enabled needs tokenSecret.name: an existing Secret with the token of config.metrics.token" -}}
{{- end -}}
{{- end }}
