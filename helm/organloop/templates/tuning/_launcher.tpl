{{- define "organloop.launcher.pod" -}}
{{- $this := dict "root" . "component" "launcher" -}}
{{- $secret := include "organloop.secret" (dict "root" . "for" "prefect-auth") | fromYaml -}}
metadata:
  annotations:
    checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
    checksum/job: {{ include (print $.Template.BasePath "/tuning/job-template.yaml") . | sha256sum }}
spec:
  serviceAccountName: {{ include "organloop.account" (dict "root" . "account" "launcher") }}
  automountServiceAccountToken: true
  {{- include "organloop.podSecurity" (dict "root" . "user" 10001) | nindent 2 }}
  terminationGracePeriodSeconds: 30  # jobs go on without it
  containers:
    - name: launcher
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python, -m, deploy.runs.job_launcher]
      args:
        - --pool={{ include "organloop.name" . }}-tuning  # the job `register` makes it
        - --template=/etc/organloop/tuning/job-template.json
      env:
        - name: PREFECT_API_URL
          value: http://{{ include "organloop.name" . }}-prefect:4200/api
        - name: PREFECT_API_AUTH_STRING
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "prefect-auth") }}}
        # Jobs name this secret, so that the password is not in their manifests.
        - name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME
          value: {{ $secret.name }}
        - name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY
          value: {{ $secret.key }}
        - name: PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES
          value: {{ .Release.Namespace }}
        - name: PREFECT_INTEGRATIONS_KUBERNETES_CLUSTER_UID
          value: {{ .Release.Namespace }}-{{ include "organloop.name" . }}
        - name: DO_NOT_TRACK
          value: "1"
        - name: PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER
          value: json
      ports:
        - {name: health, containerPort: 8080}
      startupProbe:
        httpGet: {path: /health, port: health}
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /health, port: health}
        periodSeconds: 30
        timeoutSeconds: 5
        failureThreshold: 10
      resources: {{ toYaml .Values.tuning.launcher.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: tuning, mountPath: /etc/organloop/tuning, readOnly: true}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    - name: tuning
      configMap: {name: {{ include "organloop.name" . }}-tuning}
{{- end }}
