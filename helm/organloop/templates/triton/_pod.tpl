{{- define "organloop.triton.pod" -}}
{{- $this := dict "root" . "component" "triton" -}}
{{- $gpu := ne .Values.triton.target "python" -}}
metadata:
  annotations:
    checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
{{- if .Values.metrics.namespace }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "8002"
{{- end }}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  {{- include "organloop.spread" $this | nindent 2 }}
  terminationGracePeriodSeconds: 150  # the volume in hand is answered: preStop 10 s, then up to 120 s
  initContainers:
{{- if eq .Values.triton.target "tensorrt" }}
    {{- include "organloop.prepare" (merge (dict "name" "prepare-records" "option" "--no-repository") $this) | nindent 4 }}
    - name: build-engines  # for this very GPU; what is built already is left alone
      image: {{ include "organloop.image" (dict "root" . "image" "segmenter-gpu") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python3, -m, deploy.triton.build_engines]
      {{- include "organloop.environment" (dict "root" . "secrets" list) | nindent 6 }}
      resources: {{ include "organloop.triton.resources" . | nindent 8 }}
      volumeMounts: {{ include "organloop.mounts" $this | nindent 8 }}
{{- end }}
    {{- include "organloop.prepare" $this | nindent 4 }}
  containers:
    - name: triton
      image: {{ include "organloop.image" (dict "root" . "image" (ternary "segmenter-gpu" "segmenter" $gpu)) }}
      {{- include "organloop.container" $this | nindent 6 }}
      args:
        - --exit-timeout-secs=120
{{- if .Values.metrics.namespace }}
        - --allow-metrics=true
{{- end }}
      env: {{ include "organloop.secrets" (dict "root" . "secrets" (list "serving" "release")) | nindent 8 }}
      ports:
        - {name: grpc, containerPort: 8001}
{{- if .Values.metrics.namespace }}
        - {name: metrics, containerPort: 8002}
{{- end }}
      # Whether it runs, by grpc.health.v1, which asks no key. Whether it answers for the incumbent is the
      # container `ready`'s to say.
      startupProbe:
        grpc: {port: 8001}
        periodSeconds: 5
        failureThreshold: 120
      livenessProbe:
        grpc: {port: 8001}
        periodSeconds: 15
        timeoutSeconds: 5
        failureThreshold: 4
      lifecycle:
        preStop: {exec: {command: [sleep, "10"]}}  # until nobody sends it new studies
      resources: {{ include "organloop.triton.resources" . | nindent 8 }}
      volumeMounts:
        - {name: store, mountPath: /models, subPath: triton/repository, readOnly: true}
        - {name: shared-memory, mountPath: /dev/shm}
        - {name: tmp, mountPath: /tmp}
    - name: ready
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python, -m, deploy.containers.segmenter_ready]
      {{- include "organloop.environment" (dict "root" . "secrets" (list "database-reader" "serving")) | nindent 6 }}
      ports:
        - {name: ready, containerPort: 8080}
      readinessProbe:
        httpGet: {path: /ready, port: ready}
        periodSeconds: 5
        timeoutSeconds: 6
        failureThreshold: 3
      livenessProbe:
        httpGet: {path: /live, port: ready}
        periodSeconds: 30
        timeoutSeconds: 5
      resources: {{ toYaml .Values.triton.ready.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    {{- include "organloop.volumes" $this | nindent 4 }}
    - name: shared-memory  # a volume and its answer cross here between server and model
      emptyDir: {medium: Memory, sizeLimit: {{ .Values.triton.sharedMemory }}}
{{- end }}

{{- define "organloop.triton.resources" -}}
{{- $resources := deepCopy .Values.triton.resources -}}
{{- if ne .Values.triton.target "python" -}}
{{- $_ := set $resources.limits .Values.triton.gpuResource 1 -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}
