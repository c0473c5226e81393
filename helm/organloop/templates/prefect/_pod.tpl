{{- define "organloop.prefect.pod" -}}
{{- $this := dict "root" . "component" "prefect" -}}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  terminationGracePeriodSeconds: 30
  containers:
    - name: prefect
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [prefect, server, start, --host, 0.0.0.0, --port, "4200"]
      env:
        - name: PREFECT_HOME
          value: /var/lib/prefect
        - name: PREFECT_API_DATABASE_CONNECTION_URL
          value: postgresql+asyncpg://{{ .Values.database.user }}{{ if .Values.database.roles }}_prefect{{ end }}@{{ include "organloop.databaseHost" . }}:{{ .Values.database.port }}/{{ .Values.database.prefectName }}
        - name: PGPASSWORD
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" (.Values.database.roles | ternary "prefect-database-password" "database-password")) }}}
        - name: PGSSLMODE
          value: {{ if .Values.database.bundled }}disable{{ else }}{{ .Values.database.sslMode }}{{ end }}
{{- if .Values.database.caSecret }}
        - name: PGSSLROOTCERT
          value: /etc/organloop/trust/database.crt
{{- end }}
        # Who may look at runs and start them; the name and password of the dashboard.
        - name: PREFECT_SERVER_API_AUTH_STRING
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "prefect-auth") }}}
        # The server asks itself, too.
        - name: PREFECT_API_AUTH_STRING
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "prefect-auth") }}}
        - name: PREFECT_SERVER_CSRF_PROTECTION_ENABLED
          value: "true"
        # No other origin's pages may read answers; the dashboard's own need no leave.
        - name: PREFECT_SERVER_CORS_ALLOWED_ORIGINS
          value: https://none.invalid
        - name: PREFECT_SERVER_UI_API_URL
          value: /api  # whatever address the dashboard is reached under
        - name: PREFECT_SERVER_ANALYTICS_ENABLED
          value: "false"
        - name: DO_NOT_TRACK
          value: "1"
        # Pages of its dashboard would have it fetch lists from GitHub; refused, it takes its own copies.
        - name: https_proxy
          value: http://127.0.0.1:9
        - name: PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER
          value: json
        # In memory, places that runs hold under a limit would outlive the server, never given back.
        - name: PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE
          value: prefect.server.concurrency.lease_storage.filesystem
        - name: PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED
          value: events,flow_runs
        - name: PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD
          value: {{ mul .Values.prefect.historyDays 86400 | quote }}
        # They look every 5 to 20 s otherwise; once a minute is enough.
{{- range list "CANCELLATION_CLEANUP" "CLEANUP_RECONCILER" "FOREMAN" "LATE_RUNS" "PAUSE_EXPIRATIONS" "REPOSSESSOR" }}
        - name: PREFECT_SERVER_SERVICES_{{ . }}_LOOP_SECONDS
          value: "60"
{{- end }}
      ports:
        - {name: http, containerPort: 4200}
      startupProbe:
        httpGet: {path: /api/health, port: http}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /api/ready, port: http}  # its database answers
        periodSeconds: 10
        timeoutSeconds: 5
      livenessProbe:
        httpGet: {path: /api/health, port: http}
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      resources: {{ toYaml .Values.prefect.resources | nindent 8 }}
      volumeMounts:
        - {name: prefect, mountPath: /var/lib/prefect}
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 512Mi}
    {{- include "organloop.trust.volumes" $this | nindent 4 }}
{{- end }}
