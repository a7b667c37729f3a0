{{- define "sdxl-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 47 | trimSuffix "-" -}}
{{- end }}

{{/* At most 47 characters, so that what is appended stays within 63. */}}
{{- define "sdxl-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "sdxl-operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sdxl-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sdxl-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "sdxl-operator.labels" -}}
{{ include "sdxl-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sdxl-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sdxl-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: serviceAccount.name must say which account to use" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "sdxl-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sdxl-operator.tokenKeySecretName" -}}
{{- default (printf "%s-token-key" (include "sdxl-operator.fullname" .)) .Values.tokenKey.existingSecret -}}
{{- end }}
