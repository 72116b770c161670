{{/* Base of every name: the release's name, with "easel" in it. */}}
{{- define "easel.fullname" -}}
{{- if contains "easel" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-easel" (.Release.Name | trunc 34 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "easel.operator" -}}
{{ include "easel.fullname" . }}-operator
{{- end }}

{{/* What identifies the operator's pods; immutable in the Deployment, so it holds no version. */}}
{{- define "easel.operatorSelector" -}}
app.kubernetes.io/name: easel-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "easel.labels" -}}
app.kubernetes.io/part-of: easel
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The watched namespaces as JSON (a template can only return text): .Values.namespaces or the release's own. */}}
{{- define "easel.namespaces" -}}
{{ .Values.namespaces | default (list .Release.Namespace) | uniq | sortAlpha | toJson }}
{{- end }}

{{/* An image reference. Takes a list: the image's values and the chart's appVersion. */}}
{{- define "easel.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default (index . 1) }}{{ end }}
{{- end }}

{{/* The operator's configuration file. */}}
{{- define "easel.config" -}}
namespaces: {{ include "easel.namespaces" . }}
leaseNamespace: {{ .Release.Namespace }}
leaseName: {{ include "easel.operator" . }}
workerImage: {{ include "easel.image" (list .Values.image .Chart.AppVersion) }}
workerImagePullPolicy: {{ .Values.image.pullPolicy }}
workerServiceAccount: easel-worker
providersAcrossNamespaces: {{ .Values.providers.acrossNamespaces }}
workerResources:
{{- range $which, $amounts := .Values.worker.resources }}
  {{ $which }}:
  {{- range $resource, $amount := $amounts }}
    {{ $resource }}: {{ $amount | toString | quote }}
  {{- end }}
{{- end }}
runtimeServiceAccount: easel-runtime
runtimeProfiles:
{{- range $name, $profile := .Values.runtimeProfiles }}
  {{ $name }}:
    image: {{ include "easel.image" (list $profile.image $.Chart.AppVersion) }}
    imagePullPolicy: {{ $profile.image.pullPolicy | default "IfNotPresent" }}
    {{- range $key := list "nodeSelector" "tolerations" "runtimeClassName" "env" }}
    {{- with index $profile $key }}
    {{ $key }}: {{ toJson . }}
    {{- end }}
    {{- end }}
{{- end }}
metricsPort: 9090
healthPort: 8081
operatorPodSelector:
  namespaceLabels: {kubernetes.io/metadata.name: {{ .Release.Namespace }}}
  podLabels: {{ include "easel.operatorSelector" . | fromYaml | toJson }}
prometheusSelector: {{ pick .Values.monitoring.prometheus "namespaceLabels" "podLabels" | toJson }}
admission: {{ toJson .Values.admission }}
prometheusUrl: {{ .Values.monitoring.prometheus.url | quote }}
{{- end }}
