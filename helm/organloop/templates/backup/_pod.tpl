{{- define "organloop.backup.pod" -}}
{{- $this := dict "root" . "component" "backup" -}}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: backup
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [organloop, backup, --out, /var/lib/organloop-backup, --keep, {{ .Values.backup.keep | quote }}]
      {{- include "organloop.environment" (dict "root" . "secrets" (list "database-backup")) | nindent 6 }}
      resources: {{ toYaml .Values.backup.resources | nindent 8 }}
      volumeMounts:
        - {name: store, mountPath: /var/lib/organloop, readOnly: true}
        - {name: backup, mountPath: /var/lib/organloop-backup}
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    {{- include "organloop.volumes" $this | nindent 4 }}
    - name: backup
      persistentVolumeClaim: {claimName: {{ .Values.backup.existingClaim | default (printf "%s-backup" (include "organloop.name" .)) }}}
{{- end }}
