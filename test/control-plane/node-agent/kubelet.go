package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const logPoll = 100 * time.Millisecond

// serveKubelet answers what the API server asks of nodes: logs, for `kubectl logs`.
func (a *agent) serveKubelet(listener net.Listener) error {
	certificate, err := selfSigned(a.config.Name)
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /healthz", func(writer http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(writer, "ok") })
	routes.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveLogs)
	server := &http.Server{Handler: routes, TLSConfig: &tls.Config{Certificates: []tls.Certificate{*certificate}}}
	go func() { log.Print(server.ServeTLS(listener, "", "")) }()
	return nil
}

func (a *agent) serveLogs(writer http.ResponseWriter, request *http.Request) {
	worker, err := a.worker(request.PathValue("namespace"), request.PathValue("pod"))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusNotFound)
		return
	}
	container, err := worker.findContainer(request.PathValue("container"))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusNotFound)
		return
	}
	run := int(container.current().RestartCount)
	if request.FormValue("previous") == "true" {
		run--
	}
	file, err := os.Open(filepath.Join(container.logFolder(), strconv.Itoa(run)+".log"))
	if err != nil {
		http.Error(writer, "the container has not run", http.StatusBadRequest)
		return
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusInternalServerError)
		return
	}
	if count, err := strconv.Atoi(request.FormValue("tailLines")); err == nil {
		lines := bytes.SplitAfter(content, []byte("\n"))
		if len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
			lines = lines[:len(lines)-1]
		}
		content = bytes.Join(lines[max(0, len(lines)-count):], nil)
	}
	_, _ = writer.Write(content)
	for request.FormValue("follow") == "true" && request.Context().Err() == nil {
		_, err := container.pid()
		http.NewResponseController(writer).Flush()
		copied, copyErr := io.Copy(writer, file)
		if copyErr != nil || copied == 0 && err != nil {
			return
		}
		time.Sleep(logPoll)
	}
}

// selfSigned is enough for an API server that was given no authority to check kubelets by.
func selfSigned(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "system:node:" + name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
