{{/* Prefect's base job template, in which nothing is left for a deployment or a run to choose. */}}
{{- define "organloop.tuning.template" -}}
{{- $this := dict "root" . "component" "tuning-job" -}}
{{- $resources := deepCopy .Values.tuning.resources -}}
{{- if gt (int .Values.tuning.gpus) 0 }}{{ $_ := set $resources.limits .Values.tuning.gpuResource (int .Values.tuning.gpus) }}{{ end -}}
variables: {type: object, properties: {}, additionalProperties: false}
job_configuration:
  name: {{ .Release.Name }}-tuning
  namespace: {{ .Release.Namespace }}
  stream_output: true
  pod_watch_timeout_seconds: {{ .Values.tuning.startSeconds }}
  job_manifest:
    apiVersion: batch/v1
    kind: Job
    metadata:
      generateName: {{ .Release.Name }}-tuning-
      namespace: {{ .Release.Namespace }}
    spec:
      backoffLimit: 0
      ttlSecondsAfterFinished: 86400
      activeDeadlineSeconds: {{ .Values.tuning.deadlineSeconds }}
      template:
        metadata:
          labels: {{ include "organloop.labels" $this | nindent 12 }}
        spec:
          {{- include "organloop.pod" $this | nindent 10 }}
          {{- include "organloop.placement" (merge (dict "on" .Values.tuning) $this) | nindent 10 }}
          restartPolicy: Never
          completions: 1
          parallelism: 1
          terminationGracePeriodSeconds: 60
          containers:
            - name: prefect-job  # the name Prefect wants
              image: {{ include "organloop.image" (dict "root" . "image" "trainer") }}
              {{- include "organloop.container" $this | nindent 14 }}
              args: [python, -m, deploy.runs.one_run]
              {{- include "organloop.environment" (dict "root" . "secrets" (list "database" "prefect")) | nindent 14 }}
                # A job outlives what started it: it says that it lives.
                - {name: PREFECT_FLOWS_HEARTBEAT_FREQUENCY, value: "60"}
              resources: {{ toYaml $resources | nindent 16 }}
              volumeMounts:
                {{- include "organloop.mounts" $this | nindent 16 }}
                {{- include "organloop.work.mounts" $this | nindent 16 }}
                - {name: shared-memory, mountPath: /dev/shm}
          volumes:
            {{- include "organloop.volumes" $this | nindent 12 }}
            {{- include "organloop.work.volumes" $this | nindent 12 }}
            - name: shared-memory
              emptyDir: {medium: Memory, sizeLimit: {{ .Values.tuning.sharedMemory }}}
{{- end }}
