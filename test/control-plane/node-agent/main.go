// Command node-agent stands for a node of a test cluster. It registers the node, renews its Lease, and runs the containers of its pods as
// processes of this machine, each in namespaces of its own: files, processes, host name, network. What it knows of Kubernetes it has from
// the API server; tests steer it by HTTP on a Unix socket (control.go).
//
//	node-agent --config=FILE     the agent
//	node-agent network …         holds the network of a cluster's pods (network.go)
//	node-agent container         becomes a container (container_init.go); started by the agent
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
	"sdxl.io/sdxl-operator/test/control-plane/parent"
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if len(os.Args) > 1 && os.Args[1] == "container" {
		runContainerInit()
		return
	}
	parent.DieTogether()
	var err error
	if len(os.Args) > 1 && os.Args[1] == "network" {
		err = runNetwork(os.Args[2:])
	} else {
		err = runAgent()
	}
	if err != nil {
		log.Fatal(err)
	}
}

func init() {
	// The parent-death signal and namespaces belong to threads.
	runtime.LockOSThread()
}

func runAgent() error {
	configFile := flag.String("config", "", "the node, as JSON")
	flag.Parse()
	config, err := readConfig(*configFile)
	if err != nil {
		return fmt.Errorf("%s: %w", *configFile, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	agent, err := newAgent(config)
	if err != nil {
		return err
	}
	return agent.run(ctx)
}
