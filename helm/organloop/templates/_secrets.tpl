{{/* Settings and secrets of a process. A container gets the passwords that it asks with, and no others. */}}

{{/* One password, by what it is for: `"for" "archive-user"`; where `secretKeys` says nothing, the key of that name in existingSecret. */}}
{{- define "organloop.secret" -}}
{{- $own := index .root.Values.secretKeys .for | default dict -}}
{{- $name := $own.name | default .root.Values.existingSecret -}}
{{- if not $name }}{{ fail (printf "existingSecret is empty, and secretKeys.%s.name: name the secret with the passwords (README.md, 'Secrets')" .for) }}{{ end -}}
{name: {{ $name }}, key: {{ $own.key | default .for }}{{ if .optional }}, optional: true{{ end }}}
{{- end }}

{{/* The settings of a process of ours, and of the secrets only what it asks with: `"secrets" (list "database" …)`. */}}
{{- define "organloop.environment" -}}
envFrom:
  - configMapRef: {name: {{ include "organloop.name" .root }}-settings}
{{- with include "organloop.secrets" . }}
env: {{ . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "organloop.secrets" -}}
{{- $root := .root -}}
{{- if not .root.Values.database.roles }}
{{- if or (has "database" .secrets) (has "database-reader" .secrets) (has "database-backup" .secrets) }}
- name: PGPASSWORD  # read by the drivers; addresses carry no password
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "database-password") }}}
{{- end }}
{{- else }}
{{- if has "database" .secrets }}
- name: PGPASSWORD  # read by the drivers; addresses carry no password
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "database-writer-password") }}}
{{- end }}
{{- range $role := list "reader" "backup" }}
{{- if has (printf "database-%s" $role) $.secrets }}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" (printf "database-%s-password" $role)) }}}
- name: ORGANLOOP_DATABASE_URL
  value: {{ include "organloop.databaseUrl" (dict "root" $root "user" (printf "%s_%s" $root.Values.database.user $role)) }}
{{- end }}
{{- end }}
{{- if has "database-owner" .secrets }}
# Who prepares changes the schema as the owner, and makes the roles that are not there: only it has all passwords.
{{- range $role := list "writer" "reader" "backup" "owner" }}
- name: {{ upper $role }}_PASSWORD
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" (eq $role "owner" | ternary "database-password" (printf "database-%s-password" $role))) }}}
- name: ORGANLOOP_DATABASE_{{ if ne $role "writer" }}{{ upper $role }}_{{ end }}URL
  value: {{ include "organloop.databaseUrl" (dict "root" $root "user" (eq $role "owner" | ternary $root.Values.database.user (printf "%s_%s" $root.Values.database.user $role)) "password" (printf "$(%s_PASSWORD)" (upper $role))) }}
{{- end }}
{{- end }}
{{- end }}
{{- if has "prefect" .secrets }}
- name: PREFECT_API_AUTH_STRING
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "prefect-auth") }}}
{{- end }}
{{- /* An older secret lacks them: then a renewed Triton says so and does not start, and the others serve on. */ -}}
{{- if has "serving" .secrets }}
- name: ORGANLOOP_TRITON_SERVING_KEY  # has volumes answered
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "triton-serving-key" "optional" true) }}}
{{- end }}
{{- if has "release" .secrets }}
- name: ORGANLOOP_TRITON_RELEASE_KEY  # has releases loaded
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "triton-release-key" "optional" true) }}}
{{- end }}
{{- if has "archive" .secrets }}
- name: ORGANLOOP_ARCHIVE_USER
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "archive-user") }}}
- name: ORGANLOOP_ARCHIVE_PASSWORD
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "archive-password") }}}
{{- end }}
{{- if has "readers" .secrets }}
- name: ORGANLOOP_ARCHIVE_READER_USER
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "reader-user") }}}
- name: ORGANLOOP_ARCHIVE_READER_PASSWORD
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "reader-password") }}}
{{- end }}
{{- if has "session" .secrets }}
- name: ORGANLOOP_SESSION_KEY  # without one, the first that needs it makes one in the store for all
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "session-key" "optional" true) }}}
{{- end }}
{{- if has "messages" .secrets }}
- name: ORGANLOOP_TELL  # where people are told what waits for them; without it, nowhere
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "tell" "optional" true) }}}
{{- end }}
{{- if has "provider" .secrets }}
{{- if .root.Values.people.caSecret }}
- {name: SSL_CERT_FILE, value: /etc/organloop/trust/provider.crt}
{{- end }}
- name: ORGANLOOP_OIDC_CLIENT_SECRET  # none: a public client
  valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" $root "for" "oidc-client-secret" "optional" true) }}}
{{- end }}
{{- end }}

{{/* The records' address, as one user; without a password where the drivers find it. */}}
{{- define "organloop.databaseUrl" -}}
{{- $database := .root.Values.database -}}
postgresql+psycopg://{{ .user }}{{ with .password }}:{{ . }}{{ end }}@{{ include "organloop.databaseHost" .root }}:{{ $database.port }}/{{ $database.name }}
{{- end }}

{{- define "organloop.databaseHost" -}}
{{- if .Values.database.bundled }}{{ include "organloop.name" . }}-database{{ else }}{{ .Values.database.host }}{{ end }}
{{- end }}
