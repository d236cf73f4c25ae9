// The CRDs of prometheus-operator are files in its module. Only downloaded: nothing of it is built.
module dualtor-exporter/tools/crds

go 1.25.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
