{{- define "organloop.database.pod" -}}
{{- $this := dict "root" . "component" "database" -}}
spec:
  {{- include "organloop.pod" (merge (dict "user" 999) $this) | nindent 2 }}
  terminationGracePeriodSeconds: 120
  containers:
    - name: postgres
      image: {{ with .Values.images.database }}{{ .registry | default $.Values.images.registry }}/{{ .name }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}{{ end }}
      {{- include "organloop.container" $this | nindent 6 }}
      env:
        - name: POSTGRES_USER
          value: {{ .Values.database.user }}
        - name: POSTGRES_DB
          value: {{ .Values.database.name }}
        - name: POSTGRES_PASSWORD
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "database-password") }}}
{{- if .Values.database.roles }}
        - name: PREFECT_PASSWORD  # of its role, made at the first start
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "prefect-database-password") }}}
{{- end }}
        - name: PGDATA
          value: /var/lib/postgresql/data/pgdata
      ports:
        - {name: postgres, containerPort: 5432}
      startupProbe:
        exec: {command: [pg_isready, -U, {{ .Values.database.user }}, -d, {{ .Values.database.name }}]}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        exec: {command: [pg_isready, -U, {{ .Values.database.user }}, -d, {{ .Values.database.name }}]}
        periodSeconds: 10
        timeoutSeconds: 5
      livenessProbe:
        exec: {command: [pg_isready, -U, {{ .Values.database.user }}, -d, {{ .Values.database.name }}]}
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      resources: {{ toYaml .Values.database.resources | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/postgresql/data}
        - {name: run, mountPath: /var/run/postgresql}
        - {name: tmp, mountPath: /tmp}
        - {name: first, mountPath: /docker-entrypoint-initdb.d, readOnly: true}
  volumes:
    - {name: run, emptyDir: {sizeLimit: 16Mi}}
    - {name: tmp, emptyDir: {sizeLimit: 128Mi}}
    - name: first
      configMap: {name: {{ include "organloop.name" . }}-database}
{{- end }}
