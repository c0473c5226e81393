{{- define "organloop.first-release.pod" -}}
{{- $this := dict "root" . "component" "first-release" -}}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: first
      image: {{ include "organloop.image" (dict "root" . "image" "trainer") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [organloop, releases, first]
      # Whose act it is, and why, says who makes the job: --approver, --reason.
      args: [/var/lib/organloop/incoming/release, --serve, silently]
      {{- include "organloop.environment" (dict "root" . "secrets" (list "database" "serving" "release")) | nindent 6 }}
      resources: {{ toYaml .Values.prepare.resources | nindent 8 }}
      volumeMounts:
        {{- include "organloop.mounts" $this | nindent 8 }}
        {{- include "organloop.work.mounts" $this | nindent 8 }}
  volumes:
    {{- include "organloop.volumes" $this | nindent 4 }}
    - name: work  # no studies are worked on: calibration cases are read where they lie
      emptyDir: {sizeLimit: 1Gi}
{{- end }}
