package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const bridgeName = "pods"

// runNetwork holds a network namespace with a bridge that joins all pods of a cluster, and this machine to them: PREFIX.0.1 is the bridge,
// PREFIX.0.2 this machine. When the process ends, however it ends, the kernel takes everything away. Within the namespace, the address of
// the Service kubernetes leads to the API server.
func runNetwork(args []string) error {
	flags := flag.NewFlagSet("network", flag.ExitOnError)
	prefix := flags.String("prefix", "", "first two numbers of the pods' addresses")
	apiServer := flags.String("api-server", "", "HOST:PORT of the API server on this machine")
	kubeconfig := flags.String("kubeconfig", "", "who asks the API server for the names of Services")
	if err := flags.Parse(args); err != nil {
		return err
	}
	host, err := currentNetwork()
	if err != nil {
		return err
	}
	// This thread, which is the process to others, moves; the rest stays on the machine's network.
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespaces are needed: %w", err)
	}
	bridge, err := makeBridge(*prefix)
	if err != nil {
		return err
	}
	// Made on this thread, these are in the pods' network.
	service, err := net.Listen("tcp", kubernetesService+":443")
	if err != nil {
		return err
	}
	resolver := *prefix + ".0.1:53"
	packets, err := net.ListenPacket("udp", resolver)
	if err != nil {
		return err
	}
	streams, err := net.Listen("tcp", resolver)
	if err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	resolved := &names{slices: map[string]*discoveryv1.EndpointSlice{}}
	if err := resolved.follow(context.Background(), client); err != nil {
		return err
	}
	go resolved.serve(packets, streams)
	go forward(service, *apiServer)
	// Last, as this is what others wait for.
	if err := joinHost(host, bridge, *prefix); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	<-stop
	return nil
}

func makeBridge(prefix string) (netlink.Link, error) {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add bridge: %w", err)
	}
	for _, address := range []string{prefix + ".0.1/16", kubernetesService + "/32"} {
		if err := addAddress(&netlink.Handle{}, bridge, address); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"lo", bridgeName} {
		if err := setUp(&netlink.Handle{}, name); err != nil {
			return nil, err
		}
	}
	return bridge, nil
}

// joinHost lays a cable from the bridge to the namespace host, and gives that its address.
func joinHost(host *os.File, bridge netlink.Link, prefix string) error {
	outside := "sdxl" + prefix[len("10."):]
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host"}, PeerName: outside, PeerNamespace: netlink.NsFd(int(host.Fd()))}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("add link to the host: %w", err)
	}
	if err := netlink.LinkSetMaster(cable, bridge); err != nil {
		return err
	}
	if err := setUp(&netlink.Handle{}, "host"); err != nil {
		return err
	}
	handle, err := handleAt(host)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := setUp(handle, outside); err != nil {
		return err
	}
	link, err := handle.LinkByName(outside)
	if err != nil {
		return err
	}
	return addAddress(handle, link, prefix+".0.2/16")
}

func forward(listener net.Listener, target string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", target)
			if err != nil {
				log.Print(err)
				return
			}
			defer server.Close()
			var both sync.WaitGroup
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				both.Go(func() {
					_, _ = io.Copy(way[1], way[0])
					_ = way[1].(*net.TCPConn).CloseWrite()
				})
			}
			both.Wait()
		}()
	}
}
