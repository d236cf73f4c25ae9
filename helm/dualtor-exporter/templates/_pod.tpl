{{/* The pod, for both modes. */}}
{{- define "dualtor.pod" -}}
{{- $isDaemonset := eq .Values.mode "daemonset" -}}
{{- $web := include "dualtor.web" . | fromYaml -}}
{{- $names := list (include "dualtor.fullname" .) (printf "%s.%s" (include "dualtor.fullname" .) (include "dualtor.namespace" .)) (printf "%s.%s.svc" (include "dualtor.fullname" .) (include "dualtor.namespace" .)) -}}
metadata:
  labels: {{- merge (include "dualtor.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "dualtor.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if $isDaemonset }}
  # The SoCs answer only the switch's own Loopback3.
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- with .Values.global.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ quote . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ quote . }}
  {{- end }}
  {{- $context := deepCopy .Values.securityContext -}}
  {{- if and $isDaemonset .Values.redis.group -}}
  {{- $_ := set $context "supplementalGroups" (append (default list $context.supplementalGroups) (int .Values.redis.group)) -}}
  {{- end }}
  securityContext: {{- toYaml $context | nindent 4 }}
  containers:
    - name: dualtor-exporter
      image: {{ include "dualtor.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --config.file=/etc/dualtor-exporter/config/config.yml
        - --config.follow
        - --web.listen-address=:{{ .Values.port }}
        {{- with .Values.routePrefix }}
        - --web.route-prefix={{ . }}
        {{- end }}
        {{- with $web.file }}
        - --web.config.file=/etc/dualtor-exporter/web/{{ . }}
        {{- end }}
        {{- range $names }}
        - --web.allowed-host={{ . }}
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: {{ ternary "https" "http" $web.tls }}, containerPort: {{ .Values.port }}, protocol: TCP}
      livenessProbe: {{- include "dualtor.probe" (dict "root" . "web" $web "path" "/-/healthy" "own" .Values.livenessProbe) | nindent 8 }}
      readinessProbe: {{- include "dualtor.probe" (dict "root" . "web" $web "path" "/-/ready" "own" .Values.readinessProbe) | nindent 8 }}
      {{- with .Values.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- toYaml .Values.containerSecurityContext | nindent 8 }}
      # Directories, not files: a file that is mounted alone never changes.
      volumeMounts:
        - {name: config, mountPath: /etc/dualtor-exporter/config, readOnly: true}
        {{- if $web.file }}
        - {name: web, mountPath: /etc/dualtor-exporter/web, readOnly: true}
        {{- end }}
        {{- if $isDaemonset }}
        - {name: redis, mountPath: /var/run/redis, readOnly: true}
        {{- if .Values.sonic.hostPath }}
        - {name: sonic, mountPath: /etc/sonic, readOnly: true}
        {{- end }}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      {{- if .Values.configSecret.name }}
      secret: {secretName: {{ quote .Values.configSecret.name }}, items: [{key: {{ quote .Values.configSecret.key }}, path: config.yml}]}
      {{- else }}
      configMap: {name: {{ include "dualtor.fullname" . | quote }}}
      {{- end }}
    {{- if $web.file }}
    - name: web
      secret: {secretName: {{ ternary (printf "%s-web" (include "dualtor.fullname" .)) .Values.webConfig.existingSecret.name $web.own | quote }}}
    {{- end }}
    {{- if $isDaemonset }}
    # Without Redis' directory the pod waits: it is there once the switch's database service runs.
    - name: redis
      hostPath: {path: {{ quote .Values.redis.hostPath }}, type: Directory}
    {{- with .Values.sonic.hostPath }}
    - name: sonic
      hostPath: {path: {{ quote . }}, type: Directory}
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* A probe. Arguments: root, web, path; own, the value that replaces it. */}}
{{- define "dualtor.probe" -}}
{{- if .own -}}
{{- toYaml .own -}}
{{- else if .web.clientCertificates -}}
# A kubelet has no client certificate.
tcpSocket: {port: {{ .root.Values.port }}}
{{- else -}}
httpGet: {path: {{ .root.Values.routePrefix }}{{ .path }}, port: {{ .root.Values.port }}, scheme: {{ ternary "HTTPS" "HTTP" .web.tls }}}
{{- end -}}
{{- end -}}
