package main

import (
	"encoding/json"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// config is what a test says of a node; see NodeOptions in test/support/cluster/node.ts.
type config struct {
	Name       string              `json:"name"`
	Directory  string              `json:"directory"`
	Kubeconfig string              `json:"kubeconfig"`
	Network    networkConfig       `json:"network"`
	Capacity   corev1.ResourceList `json:"capacity"`
	Labels     map[string]string   `json:"labels"`
	Taints     []corev1.Taint      `json:"taints"`
	Images     map[string]image    `json:"images"`
}

type networkConfig struct {
	// NamespacePID is a process in the network namespace that joins the pods.
	NamespacePID int    `json:"namespacePid"`
	Gateway      string `json:"gateway"`
	// HostAddress is the node as pods see it.
	HostAddress  string `json:"hostAddress"`
	PodAddresses struct {
		First string `json:"first"`
		Count int    `json:"count"`
	} `json:"podAddresses"`
}

// image stands for a container image: programs of this machine.
type image struct {
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	WorkingDir string            `json:"workingDir"`
	Env        map[string]string `json:"env"`
	User       int64             `json:"user"`
	// Directory is what an image volume of it shows.
	Directory string `json:"directory"`
}

func readConfig(file string) (*config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parsed := &config{}
	return parsed, json.Unmarshal(data, parsed)
}

// findImage looks for the reference as it is, then for its repository without tag and digest.
func findImage(images map[string]image, reference string) (image, bool) {
	if found, ok := images[reference]; ok {
		return found, true
	}
	repository, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndex(repository, ":"); colon > strings.LastIndex(repository, "/") {
		repository = repository[:colon]
	}
	found, ok := images[repository]
	return found, ok
}

// kubernetesVersion is what the node claims to run; set by the build.
var kubernetesVersion = "v0.0.0"
