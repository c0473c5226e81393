{{- define "organloop.register.pod" -}}
{{- $this := dict "root" . "component" "register" -}}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  restartPolicy: OnFailure
  containers:
    - name: register
      image: {{ include "organloop.image" (dict "root" . "image" "trainer") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [organloop, register]
      args:
        - --timezone={{ .Values.timezone }}
        - --at-once={{ add 1 (mul .Values.worker.replicas .Values.worker.runsAtOnce) }}
{{- if .Values.tuning.enabled }}
        - --job-template=/etc/organloop/tuning/job-template.json
        - --jobs-at-once={{ .Values.tuning.jobsAtOnce }}
{{- else }}
        - --no-learning
{{- end }}
      {{- include "organloop.environment" (dict "root" . "secrets" (list "prefect")) | nindent 6 }}
      resources: {{ toYaml .Values.prefect.register.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
{{- if .Values.tuning.enabled }}
        - {name: tuning, mountPath: /etc/organloop/tuning, readOnly: true}
{{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- include "organloop.trust.volumes" $this | nindent 4 }}
{{- if .Values.tuning.enabled }}
    - name: tuning
      configMap: {name: {{ include "organloop.name" . }}-tuning}
{{- end }}
{{- end }}
