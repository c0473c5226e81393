{{- define "organloop.worker.pod" -}}
{{- $this := dict "root" . "component" "worker" -}}
metadata:
  annotations:
    checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  {{- include "organloop.spread" $this | nindent 2 }}
  terminationGracePeriodSeconds: {{ .Values.worker.graceSeconds }}
  initContainers:
    {{- include "organloop.prepare" $this | nindent 4 }}
  containers:
    - name: worker
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      # Asked to end, it takes no more runs, lets those under way end and reports those it could not.
      command: [python, -m, deploy.runs.pool_worker]
      args:
        - --watch
        - --queue=watch
        - --queue=stat
        - --queue=default
        - --at-once={{ .Values.worker.runsAtOnce }}
        - --grace-seconds={{ sub .Values.worker.graceSeconds 30 }}
      {{- include "organloop.environment" (dict "root" . "secrets" (list "database" "prefect" "archive" "serving" "release" "session")) | nindent 6 }}
{{- with .Values.images.digests.worker }}
        - {name: ORGANLOOP_IMAGE_DIGEST, value: {{ . }}}  # gates and promotes: evidence packs name it
{{- end }}
      ports:
        - {name: health, containerPort: 8080}
      # It has asked the server for work lately.
      startupProbe:
        httpGet: {path: /health, port: health}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /health, port: health}
        periodSeconds: 15
        timeoutSeconds: 5
      livenessProbe:
        httpGet: {path: /health, port: health}
        periodSeconds: 30
        timeoutSeconds: 5
        failureThreshold: 10
      resources: {{ toYaml .Values.worker.resources | nindent 8 }}
      volumeMounts:
        {{- include "organloop.mounts" $this | nindent 8 }}
        {{- include "organloop.work.mounts" $this | nindent 8 }}
{{- if .Values.witness.existingClaim }}
        - {name: witness, mountPath: /var/lib/organloop-witness}
{{- end }}
  volumes:
    {{- include "organloop.volumes" $this | nindent 4 }}
    {{- include "organloop.work.volumes" $this | nindent 4 }}
{{- with .Values.witness.existingClaim }}
    - name: witness
      persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- end }}
