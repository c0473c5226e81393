{{/* Prefect's base job template, in which nothing is left for a deployment or a run to choose. */}}
{{- define "organloop.tuning.template" -}}
{{- $this := dict "root" . "component" "tuning-job" -}}
variables: {type: object, properties: {}, additionalProperties: false}
job_configuration:
  name: {{ include "organloop.name" . }}-tuning
  namespace: {{ .Release.Namespace }}
  stream_output: true
  pod_watch_timeout_seconds: {{ .Values.tuning.startSeconds }}
  job_manifest:
    apiVersion: batch/v1
    kind: Job
    metadata:
      generateName: {{ include "organloop.name" . }}-tuning-
      namespace: {{ .Release.Namespace }}
    spec:
      backoffLimit: 0
      ttlSecondsAfterFinished: 86400
      activeDeadlineSeconds: {{ .Values.tuning.deadlineSeconds }}
      template: {{ include "organloop.dressed" (merge (dict "pod" "organloop.tuning-job.pod") $this) | nindent 8 }}
{{- end }}
