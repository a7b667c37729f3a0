package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	clusterDomain = "cluster.local"
	ttlSeconds    = 1
)

// names answers pods' questions for the names of Services and of the pods behind them. As nothing here forwards what is sent to a Service's own
// address, the name of every Service leads to the pods themselves, as that of a headless one does.
type names struct {
	mutex sync.RWMutex
	// slices by namespace/name.
	slices map[string]*discoveryv1.EndpointSlice
}

func (n *names) follow(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	_, err := factory.Discovery().V1().EndpointSlices().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { n.put(object.(*discoveryv1.EndpointSlice)) },
		UpdateFunc: func(_, object any) { n.put(object.(*discoveryv1.EndpointSlice)) },
		DeleteFunc: func(object any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				n.mutex.Lock()
				delete(n.slices, key)
				n.mutex.Unlock()
			}
		},
	})
	factory.Start(ctx.Done())
	return err
}

func (n *names) put(slice *discoveryv1.EndpointSlice) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.slices[slice.Namespace+"/"+slice.Name] = slice
}

// lookup gives the addresses of [host.]service.namespace.svc.cluster.local, and whether there is such a name.
func (n *names) lookup(name string) ([]netip.Addr, bool) {
	name, found := strings.CutSuffix(strings.ToLower(name), ".svc."+clusterDomain+".")
	labels := strings.Split(name, ".")
	if !found || len(labels) < 2 || len(labels) > 3 {
		return nil, false
	}
	host, service, namespace := "", labels[len(labels)-2], labels[len(labels)-1]
	if len(labels) == 3 {
		host = labels[0]
	}
	if host == "" && service == "kubernetes" && namespace == corev1.NamespaceDefault {
		return []netip.Addr{netip.MustParseAddr(kubernetesService)}, true
	}
	n.mutex.RLock()
	defer n.mutex.RUnlock()
	var addresses []netip.Addr
	for _, slice := range n.slices {
		if slice.Namespace != namespace || slice.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if !ready || host != "" && (endpoint.Hostname == nil || *endpoint.Hostname != host) {
				continue
			}
			for _, text := range endpoint.Addresses {
				if address, err := netip.ParseAddr(text); err == nil && address.Is4() {
					addresses = append(addresses, address)
				}
			}
		}
	}
	return addresses, len(addresses) > 0
}

func (n *names) serve(packets net.PacketConn, streams net.Listener) {
	go func() {
		buffer := make([]byte, 65535)
		for {
			size, from, err := packets.ReadFrom(buffer)
			if err != nil {
				log.Fatal(err)
			}
			if answer, err := n.answer(buffer[:size]); err == nil {
				_, _ = packets.WriteTo(answer, from)
			}
		}
	}()
	for {
		stream, err := streams.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer stream.Close()
			if err := n.serveStream(stream); err != nil && !errors.Is(err, io.EOF) {
				log.Printf("dns: %v", err)
			}
		}()
	}
}

func (n *names) serveStream(stream net.Conn) error {
	for {
		var size [2]byte
		if _, err := io.ReadFull(stream, size[:]); err != nil {
			return err
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(stream, question); err != nil {
			return err
		}
		answer, err := n.answer(question)
		if err != nil {
			return err
		}
		if _, err := stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return err
		}
	}
}

func (n *names) answer(packet []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(packet); err != nil {
		return nil, err
	}
	message.Response, message.Authoritative, message.RecursionAvailable = true, true, true
	message.Additionals = nil
	for _, question := range message.Questions {
		addresses, found := n.lookup(question.Name.String())
		if !found {
			message.RCode = dnsmessage.RCodeNameError
		}
		if question.Type != dnsmessage.TypeA {
			continue
		}
		for _, address := range addresses {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: ttlSeconds},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return message.Pack()
}
