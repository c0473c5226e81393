{{- define "organloop.metrics.pod" -}}
{{- $this := dict "root" . "component" "metrics" -}}
metadata:
  annotations:
    checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "9090"
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  terminationGracePeriodSeconds: 30
  containers:
    - name: metrics
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [organloop, metrics, --port, "9090", --address, 0.0.0.0]
      {{- include "organloop.environment" (dict "root" . "secrets" (list "database-reader" "serving")) | nindent 6 }}
      ports:
        - {name: metrics, containerPort: 9090}
      startupProbe:
        tcpSocket: {port: metrics}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /metrics, port: metrics}
        periodSeconds: 30
        timeoutSeconds: 10
      livenessProbe:
        tcpSocket: {port: metrics}
        periodSeconds: 30
      resources: {{ toYaml .Values.metrics.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: 256Mi}}
    {{- include "organloop.trust.volumes" $this | nindent 4 }}
{{- end }}
