{{- define "organloop.tuning-job.pod" -}}
{{- $this := dict "root" . "component" "tuning-job" -}}
{{- $image := gt (int .Values.tuning.gpus) 0 | ternary "trainer-gpu" "trainer" -}}
{{- $resources := deepCopy .Values.tuning.resources -}}
{{- if gt (int .Values.tuning.gpus) 0 }}{{ $_ := set $resources.limits .Values.tuning.gpuResource (int .Values.tuning.gpus) }}{{ end -}}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  {{- include "organloop.spread" $this | nindent 2 }}
  restartPolicy: Never
  completions: 1
  parallelism: 1
  terminationGracePeriodSeconds: 60
  containers:
    - name: prefect-job  # the name Prefect wants
      image: {{ include "organloop.image" (dict "root" . "image" $image) }}
      {{- include "organloop.container" $this | nindent 6 }}
      args: [python, -m, deploy.runs.one_run]
      {{- include "organloop.environment" (dict "root" . "secrets" (list "database" "prefect")) | nindent 6 }}
        # A job outlives what started it: it says that it lives.
        - {name: PREFECT_FLOWS_HEARTBEAT_FREQUENCY, value: "60"}
{{- with index .Values.images.digests $image }}
        - {name: ORGANLOOP_IMAGE_DIGEST, value: {{ . }}}  # teaches: its report names it
{{- end }}
      resources: {{ toYaml $resources | nindent 8 }}
      volumeMounts:
        {{- include "organloop.mounts" $this | nindent 8 }}
        {{- include "organloop.work.mounts" $this | nindent 8 }}
        - {name: shared-memory, mountPath: /dev/shm}
  volumes:
    {{- include "organloop.volumes" $this | nindent 4 }}
    {{- include "organloop.work.volumes" $this | nindent 4 }}
    - name: shared-memory
      emptyDir: {medium: Memory, sizeLimit: {{ .Values.tuning.sharedMemory }}}
{{- end }}
