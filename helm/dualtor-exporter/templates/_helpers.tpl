{{/* Name of the objects, at most 52 characters: Kubernetes appends up to 11 to a StatefulSet's name in a label of 63. */}}
{{- define "dualtor.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dualtor.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* What selects the pods. It never changes, so no version and no chart is in it. */}}
{{- define "dualtor.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: exporter
{{- end -}}

{{/* Labels of an object. */}}
{{- define "dualtor.labels" -}}
{{- $own := include "dualtor.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "dualtor-exporter" -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{/* metadata of an object. Arguments: root; name, what follows the name; labels, of this object alone: they come first. */}}
{{- define "dualtor.metadata" -}}
name: {{ printf "%s%s" (include "dualtor.fullname" .root) .name | quote }}
namespace: {{ include "dualtor.namespace" .root | quote }}
labels: {{- toYaml (merge (deepCopy (default dict .labels)) (include "dualtor.labels" .root | fromYaml)) | nindent 2 }}
{{- end -}}

{{- define "dualtor.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end }}{{ $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{- define "dualtor.serviceAccountName" -}}
{{- $default := ternary (include "dualtor.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end -}}

{{/* The configuration file. YAML 1.1, as Helm reads values, takes `off` and `on` for booleans: here they are words again. */}}
{{- define "dualtor.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- with .Values.otel }}{{ $_ := set $config "otel" (deepCopy .) }}{{ end -}}
{{- if eq .Values.mode "statefulset" -}}
{{- if hasKey $config "shard" }}{{ fail "config.shard: the chart writes this key itself; set `shards`" }}{{ end -}}
{{- $_ := set $config "shard" (dict "index" "auto" "count" (int .Values.shards)) -}}
{{- end -}}
{{- $isCentral := or (eq .Values.mode "statefulset") (not (empty $config.inventory)) -}}
{{- if $isCentral -}}
{{- $databases := default dict $config.databases -}}
{{- if not (hasKey $databases "publish") }}{{ $_ := set $databases "publish" "off" }}{{ end -}}
{{- $_ := set $config "databases" $databases -}}
{{- end -}}
{{- range $place := list (list "databases" "publish") (list "otel" "traces") (list "otel" "metrics") (list "otel" "logs") -}}
{{- $part := get $config (first $place) -}}
{{- if and (kindIs "map" $part) (kindIs "bool" (get $part (last $place))) -}}
{{- $_ := set $part (last $place) (ternary "on" "off" (get $part (last $place))) -}}
{{- end -}}
{{- end -}}
{{- $publish := toString (get (default dict $config.databases) "publish") -}}
{{- if and $isCentral (ne $publish "off") (or $config.inventory (and (eq .Values.mode "statefulset") (gt (int .Values.shards) 1))) -}}
{{- fail (printf "config.databases.publish: expected off, since several shards or an inventory write no rows; got %s" $publish) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What the web side needs of its clients, as YAML: file (its name; empty: plain HTTP for everyone), own (whether the chart has the
     file), tls, clientCertificates, login. */}}
{{- define "dualtor.web" -}}
{{- $existing := .Values.webConfig.existingSecret -}}
{{- $file := omit .Values.webConfig "existingSecret" -}}
{{- if and $existing.name $file }}{{ fail "webConfig: give either existingSecret.name or the file's keys, not both" }}{{ end -}}
{{- if $existing.name -}}
{{- toYaml (dict "file" $existing.key "own" false "tls" $existing.tls "clientCertificates" $existing.clientCertificates "login" $existing.login) -}}
{{- else -}}
{{- $tls := default dict $file.tls_server_config -}}
{{- $required := list "RequireAnyClientCert" "RequireClientCert" "RequireAndVerifyClientCert" -}}
{{- $has := or (hasKey $tls "cert") (hasKey $tls "cert_file") -}}
{{- toYaml (dict "file" (ternary "web.yml" "" (not (empty $file))) "own" (not (empty $file)) "tls" $has "clientCertificates" (has (default "" $tls.client_auth_type) $required) "login" (not (empty $file.basic_auth_users))) -}}
{{- end -}}
{{- end -}}

{{/* What ServiceMonitor, PodMonitor and ScrapeConfig share. Arguments: root; name and monitor, the value. */}}
{{- define "dualtor.scrape" -}}
{{- $web := include "dualtor.web" .root | fromYaml -}}
{{- if and $web.login (not .monitor.basicAuth) -}}
{{- fail (printf "%s.basicAuth: the web side has logins (basic_auth_users), so Prometheus needs one" .name) -}}
{{- end -}}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .monitor.tlsConfig }}
tlsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.basicAuth }}
basicAuth: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The name of the job, as the alerts need it, and an instance that outlives a pod. Then what the user adds. */}}
{{- define "dualtor.relabelings" -}}
{{- $instance := ternary "__meta_kubernetes_pod_node_name" "__meta_kubernetes_pod_name" (eq .root.Values.mode "daemonset") -}}
- {targetLabel: job, replacement: dualtor-exporter}
{{- if eq .name "scrapeConfig" }}
- {sourceLabels: [__meta_dns_srv_record_target], regex: '([^.]+)\..+', targetLabel: instance}
{{- else }}
- {sourceLabels: [{{ $instance }}], targetLabel: instance}
{{- end }}
{{- with .monitor.relabelings }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The rules of a file, with what prometheusRule.alerts changes. As text: Helm must not touch Prometheus' own templates in it. */}}
{{- define "dualtor.rules" -}}
{{- $parts := splitList "\n      - alert: " .text -}}
{{- $alerts := .root.Values.prometheusRule.alerts -}}
{{- $out := list (first $parts) -}}
{{- range $part := rest $parts -}}
{{- $name := first (splitList "\n" $part) -}}
{{- $change := default dict (get $alerts $name) -}}
{{- if and (hasKey $change "enabled") (not $change.enabled) -}}
{{- else -}}
{{- with get $change "for" -}}
{{- $part = regexReplaceAll "(?m)^(        for: ).*$" $part (printf "${1}%s" .) -}}
{{- end -}}
{{- with $change.severity -}}
{{- $part = regexReplaceAll "(?m)^(          severity: ).*$" $part (printf "${1}%s" .) -}}
{{- end -}}
{{- if hasKey $change "threshold" -}}
{{- $line := "(?s)^(.*\n          [<>]=? )[0-9.]+(\n.*)$" -}}
{{- if not (regexMatch $line $part) -}}
{{- fail (printf "prometheusRule.alerts.%s.threshold: no line of this alert's expr is only a comparison with a number" $name) -}}
{{- end -}}
{{- $part = regexReplaceAll $line $part (printf "${1}%v${2}" $change.threshold) -}}
{{- end -}}
{{- $out = append $out $part -}}
{{- end -}}
{{- end -}}
{{- $text := join "\n      - alert: " $out -}}
{{- /* A file whose alerts are all disabled. */ -}}
{{- if and (eq (len $out) 1) (not (contains "\n      - record: " $text)) }}{{ $text = regexReplaceAll "(?m)^(    rules:)$" $text "${1} []" }}{{ end -}}
{{- with .root.Values.prometheusRule.runbookUrl -}}
{{- $text = regexReplaceAll "(runbook_url: )[^#\n]*#" $text (printf "${1}%s#" .) -}}
{{- end -}}
{{- $text -}}
{{- end -}}
