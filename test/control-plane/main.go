// Command control-plane is every part of a Kubernetes control plane in one binary. The part is chosen by the name the binary is called
// by, or by its first argument: control-plane kube-apiserver --etcd-servers=…
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	"sdxl.io/sdxl-operator/test/control-plane/parent"
)

var parts = map[string]func() int{
	"etcd": func() int {
		etcdmain.Main(os.Args)
		return 0
	},
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubectl":                 func() int { return cli.Run(kubectl.NewDefaultKubectlCommand()) },
}

func main() {
	parent.DieTogether()
	part, found := parts[filepath.Base(os.Args[0])]
	if !found && len(os.Args) > 1 {
		part, found = parts[os.Args[1]]
		os.Args = os.Args[1:]
	}
	if !found {
		fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl [flag …]")
		os.Exit(2)
	}
	os.Exit(part())
}
