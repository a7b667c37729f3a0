package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// kubernetesService is the first address of the API server's --service-cluster-ip-range, which its certificate is valid for.
const kubernetesService = "10.96.0.1"

// podNetwork is a pod's network namespace, which lives as long as it is open or a process is in it.
type podNetwork struct {
	address   string
	namespace *os.File
}

// podNetworks gives each pod an address of the node's range and a cable to the bridge.
type podNetworks struct {
	config networkConfig
	mutex  sync.Mutex
	next   int
	used   map[string]bool
}

func (p *podNetworks) open() (*podNetwork, error) {
	address, err := p.take()
	if err != nil {
		return nil, err
	}
	namespace, err := newNetworkNamespace()
	if err != nil {
		return nil, fmt.Errorf("new network namespace: %w", err)
	}
	network := &podNetwork{address: address, namespace: namespace}
	if err := p.connect(network); err != nil {
		p.close(network)
		return nil, fmt.Errorf("connect %s: %w", address, err)
	}
	return network, nil
}

func (p *podNetworks) close(network *podNetwork) {
	network.namespace.Close()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.used, network.address)
}

// take goes round, so that an address rests before it is used again.
func (p *podNetworks) take() (string, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	first := binary.BigEndian.Uint32(net.ParseIP(p.config.PodAddresses.First).To4())
	for range p.config.PodAddresses.Count {
		address := make(net.IP, 4)
		binary.BigEndian.PutUint32(address, first+uint32(p.next))
		p.next = (p.next + 1) % p.config.PodAddresses.Count
		if !p.used[address.String()] {
			p.used[address.String()] = true
			return address.String(), nil
		}
	}
	return "", fmt.Errorf("all %d pod addresses are in use", p.config.PodAddresses.Count)
}

func (p *podNetworks) connect(network *podNetwork) error {
	shared, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.config.NamespacePID))
	if err != nil {
		return err
	}
	defer shared.Close()
	outside, err := handleAt(shared)
	if err != nil {
		return err
	}
	defer outside.Close()
	bridge, err := outside.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	ip := net.ParseIP(network.address).To4()
	name := fmt.Sprintf("pod%d-%d", ip[2], ip[3])
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name, MasterIndex: bridge.Attrs().Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(int(network.namespace.Fd())),
	}
	if err := outside.LinkAdd(cable); err != nil {
		return err
	}
	if err := setUp(outside, name); err != nil {
		return err
	}
	inside, err := handleAt(network.namespace)
	if err != nil {
		return err
	}
	defer inside.Close()
	link, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := addAddress(inside, link, network.address+"/16"); err != nil {
		return err
	}
	for _, name := range []string{"lo", "eth0"} {
		if err := setUp(inside, name); err != nil {
			return err
		}
	}
	return inside.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(p.config.Gateway)})
}

func newNetworkNamespace() (namespace *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with this goroutine, and with it its way back to another namespace.
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			namespace, err = currentNetwork()
		}
	}()
	<-done
	return namespace, err
}

func currentNetwork() (*os.File, error) {
	return os.Open("/proc/thread-self/ns/net")
}

func handleAt(namespace *os.File) (*netlink.Handle, error) {
	return netlink.NewHandleAt(netns.NsHandle(int(namespace.Fd())))
}

func setUp(handle *netlink.Handle, name string) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return handle.LinkSetUp(link)
}

func addAddress(handle *netlink.Handle, link netlink.Link, address string) error {
	parsed, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := handle.AddrAdd(link, parsed); err != nil {
		return fmt.Errorf("add address %s: %w", address, err)
	}
	return nil
}
