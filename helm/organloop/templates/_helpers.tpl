{{/* What several components share. Each is called with `dict "root" $ "component" "worker" …`. */}}

{{/* What Services, Deployments and NetworkPolicies find pods by. Not the name: Prefect gives jobs another. */}}
{{- define "organloop.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "organloop.labels" -}}
{{ include "organloop.selector" . }}
app.kubernetes.io/name: organloop
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* An image of ours: `"image" "worker"`. By digest where one is given. */}}
{{- define "organloop.image" -}}
{{- $images := .root.Values.images -}}
{{- $digest := index $images.digests .image -}}
{{- $name := printf "%s/organloop-%s" $images.registry .image -}}
{{- if $digest }}{{ $name }}@{{ $digest }}{{ else }}{{ $name }}:{{ $images.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The head of every pod. What runs asks nothing of Kubernetes, is no root and gets no root's powers. */}}
{{- define "organloop.pod" -}}
serviceAccountName: {{ .root.Release.Name }}
automountServiceAccountToken: false
{{ include "organloop.podSecurity" (dict "root" .root "user" 10001) }}
{{- end }}

{{- define "organloop.podSecurity" -}}
# Variables that Kubernetes makes of Services would be taken for settings: ORGANLOOP_PREFECT_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "organloop.container" -}}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* On which nodes, and not all on one. */}}
{{- define "organloop.placement" -}}
{{- with .on.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .on.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "organloop.selector" . | nindent 8 }}
{{- end }}

{{/* The settings of a process of ours, and of the secrets only what it asks with: `"secrets" (list "database" …)`. */}}
{{- define "organloop.environment" -}}
envFrom:
  - configMapRef: {name: {{ .root.Release.Name }}-settings}
{{- with include "organloop.secrets" . }}
env: {{ . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "organloop.secrets" -}}
{{- $secret := .root.Values.existingSecret -}}
{{- $root := .root -}}
{{- if not .root.Values.database.roles }}
{{- if or (has "database" .secrets) (has "database-reader" .secrets) (has "database-backup" .secrets) }}
- name: PGPASSWORD  # read by the drivers; addresses carry no password
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: database-password}}
{{- end }}
{{- else }}
{{- if has "database" .secrets }}
- name: PGPASSWORD  # read by the drivers; addresses carry no password
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: database-writer-password}}
{{- end }}
{{- range $role := list "reader" "backup" }}
{{- if has (printf "database-%s" $role) $.secrets }}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: database-{{ $role }}-password}}
- name: ORGANLOOP_DATABASE_URL
  value: {{ include "organloop.databaseUrl" (dict "root" $root "user" (printf "%s_%s" $root.Values.database.user $role)) }}
{{- end }}
{{- end }}
{{- if has "database-owner" .secrets }}
# Who prepares changes the schema as the owner, and makes the roles that are not there: only it has all passwords.
{{- range $role := list "writer" "reader" "backup" "owner" }}
- name: {{ upper $role }}_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ if eq $role "owner" }}database-password{{ else }}database-{{ $role }}-password{{ end }}}}
- name: ORGANLOOP_DATABASE_{{ if ne $role "writer" }}{{ upper $role }}_{{ end }}URL
  value: {{ include "organloop.databaseUrl" (dict "root" $root "user" (eq $role "owner" | ternary $root.Values.database.user (printf "%s_%s" $root.Values.database.user $role)) "password" (printf "$(%s_PASSWORD)" (upper $role))) }}
{{- end }}
{{- end }}
{{- end }}
{{- if has "prefect" .secrets }}
- name: PREFECT_API_AUTH_STRING
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: prefect-auth}}
{{- end }}
{{- /* An older secret lacks them: then a renewed Triton says so and does not start, and the others serve on. */ -}}
{{- if has "serving" .secrets }}
- name: ORGANLOOP_TRITON_SERVING_KEY  # has volumes answered
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: triton-serving-key, optional: true}}
{{- end }}
{{- if has "release" .secrets }}
- name: ORGANLOOP_TRITON_RELEASE_KEY  # has releases loaded
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: triton-release-key, optional: true}}
{{- end }}
{{- if has "archive" .secrets }}
- name: ORGANLOOP_ARCHIVE_USER
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: archive-user}}
- name: ORGANLOOP_ARCHIVE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: archive-password}}
{{- end }}
{{- if has "readers" .secrets }}
- name: ORGANLOOP_ARCHIVE_READER_USER
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: reader-user}}
- name: ORGANLOOP_ARCHIVE_READER_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: reader-password}}
{{- end }}
{{- if has "session" .secrets }}
- name: ORGANLOOP_SESSION_KEY  # without one, the first that needs it makes one in the store for all
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: session-key, optional: true}}
{{- end }}
{{- if has "messages" .secrets }}
- name: ORGANLOOP_TELL  # where people are told what waits for them; without it, nowhere
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: tell, optional: true}}
{{- end }}
{{- if has "provider" .secrets }}
{{- if .root.Values.people.caSecret }}
- {name: SSL_CERT_FILE, value: /etc/organloop/trust/provider.crt}
{{- end }}
- name: ORGANLOOP_OIDC_CLIENT_SECRET  # none: a public client
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: oidc-client-secret, optional: true}}
{{- end }}
{{- end }}

{{/* Where people open a door: `"door" "pages"`. Browsers leave out the port of https. */}}
{{- define "organloop.address" -}}
{{- $port := index .root.Values.doors.ports .door | int -}}
https://{{ .root.Values.doors.host }}{{ if ne $port 443 }}:{{ $port }}{{ end }}
{{- end }}

{{/* The records' address, as one user; without a password where the drivers find it. */}}
{{- define "organloop.databaseUrl" -}}
{{- $database := .root.Values.database -}}
postgresql+psycopg://{{ .user }}{{ with .password }}:{{ . }}{{ end }}@{{ include "organloop.databaseHost" .root }}:{{ $database.port }}/{{ $database.name }}
{{- end }}

{{/* Where such a process writes, and what it trusts. */}}
{{- define "organloop.mounts" -}}
- {name: store, mountPath: /var/lib/organloop}
- {name: tmp, mountPath: /tmp}
{{ include "organloop.trust.mounts" . }}
{{- end }}

{{- define "organloop.volumes" -}}
- name: store
  persistentVolumeClaim: {claimName: {{ .root.Values.store.existingClaim | default (printf "%s-store" .root.Release.Name) }}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{ include "organloop.trust.volumes" . }}
{{- end }}

{{/* A size in MiB, of one as the schema allows it: 500Mi, 20Gi, 2Ti. */}}
{{- define "organloop.mebibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- mul $number (get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) (regexFind "[A-Z]i$" .)) -}}
{{- end }}

{{/* What one run of a worker has of its memory, MiB; 640 are taken at rest. */}}
{{- define "organloop.studyMemoryMib" -}}
{{- $limit := include "organloop.mebibytes" .Values.worker.resources.limits.memory | int64 -}}
{{- div (sub $limit 640) (int64 .Values.worker.runsAtOnce) -}}
{{- end }}

{{/* Where studies lie while they are worked on: the pod's own, never the store, which other nodes see. */}}
{{- define "organloop.work.mounts" -}}
- {name: work, mountPath: /var/lib/organloop-work}
{{- end }}

{{- define "organloop.work.volumes" -}}
- name: work
  emptyDir: {sizeLimit: {{ .root.Values.work.size }}}
{{- end }}

{{/* The certificates that archive, database, witness and provider are checked against; never a key. */}}
{{- define "organloop.trust.mounts" -}}
- {name: trust, mountPath: /etc/organloop/trust, readOnly: true}
{{- end }}

{{- define "organloop.trust.volumes" -}}
- name: trust
  projected:
    sources:
{{- with include "organloop.archiveSecret" . }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: archive.crt}]
{{- end }}
{{- with .root.Values.database.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: database.crt}]
{{- end }}
{{- with .root.Values.witness.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: witness.crt}]
{{- end }}
{{- with .root.Values.people.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: provider.crt}]
{{- end }}
{{- $v := .root.Values }}
{{- if not (or (include "organloop.archiveSecret" .) $v.database.caSecret $v.witness.caSecret $v.people.caSecret) }} []{{ end }}
{{- end }}

{{/* The secret whose ca.crt the archive's TLS is checked against; empty: the system's certificates. */}}
{{- define "organloop.archiveSecret" -}}
{{- if .root.Values.gateway.enabled }}{{ .root.Values.gateway.tlsSecret }}{{ else }}{{ .root.Values.archive.caSecret }}{{ end }}
{{- end }}

{{/* Brings records and repository to this version under an advisory lock, before anything else starts. */}}
{{- define "organloop.prepare" -}}
- name: {{ .name | default "prepare" }}
  image: {{ include "organloop.image" (dict "root" .root "image" "trainer") }}
  {{- include "organloop.container" . | nindent 2 }}
  command: [organloop, prepare{{ if .root.Values.release.starter }}, --starter{{ end }}{{ with .option }}, {{ . }}{{ end }}]
  {{- include "organloop.environment" (dict "root" .root "secrets" (.root.Values.database.roles | ternary (list "database-owner") (list "database"))) | nindent 2 }}
  resources: {{ toYaml .root.Values.prepare.resources | nindent 4 }}
  volumeMounts: {{ include "organloop.mounts" . | nindent 4 }}
{{- end }}

{{- define "organloop.databaseHost" -}}
{{- if .Values.database.bundled }}{{ .Release.Name }}-database{{ else }}{{ .Values.database.host }}{{ end }}
{{- end }}

{{/* In network policies: the pods of one component. */}}
{{- define "organloop.peer" -}}
podSelector:
  matchLabels: {{ include "organloop.selector" . | nindent 4 }}
{{- end }}
