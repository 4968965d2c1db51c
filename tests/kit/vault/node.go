package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/builtin/plugin"
	"github.com/hashicorp/vault/command/server"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// node is where a node of a cluster listens.
type node struct {
	Address    string `json:"address"`
	TLSAddress string `json:"tls_address,omitempty"`
}

// start serves one node, or two that share what they store.
func start(chosen options) ([]node, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
	storage, err := storageOf(chosen, logger)
	if err != nil {
		return nil, err
	}
	first, err := startNode(chosen, storage, logger.Named("first"))
	if err != nil || chosen.standby == "" {
		return []node{first}, err
	}
	chosen.port = 0
	second, err := startNode(chosen, storage, logger.Named("second"))
	return []node{first, second}, err
}

func storageOf(chosen options, logger hclog.Logger) (physical.Backend, error) {
	switch {
	case chosen.standby != "" && chosen.directory != "":
		return nil, fmt.Errorf("nodes that share their data have them in memory")
	case chosen.standby != "":
		return inmem.NewInmemHA(nil, logger)
	case chosen.directory != "":
		return file.NewFileBackend(map[string]string{"path": chosen.directory}, logger)
	default:
		return inmem.NewInmem(nil, logger)
	}
}

func startNode(chosen options, storage physical.Backend, logger hclog.Logger) (node, error) {
	listener, err := listen(chosen.port)
	if err != nil {
		return node{}, err
	}
	at := node{Address: "http://" + listener.Addr().String()}
	redirects := at.Address
	var tlsListener net.Listener
	if chosen.certificate != "" {
		if tlsListener, err = listen(0); err != nil {
			return node{}, err
		}
		at.TLSAddress = "https://" + tlsListener.Addr().String()
		redirects = at.TLSAddress
	}
	core, err := newCore(chosen, storage, redirects, logger)
	if err != nil {
		return node{}, err
	}
	go serve(&http.Server{Handler: handler(core, listener)}, listener, "", "")
	if tlsListener != nil {
		// The auth method cert asks a client who it is; any client may stay silent.
		config := &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
		over := &http.Server{Handler: handler(core, tlsListener), TLSConfig: config}
		go serve(over, tlsListener, chosen.certificate, chosen.key)
	}
	return at, nil
}

func newCore(chosen options, storage physical.Backend, redirects string, logger hclog.Logger) (*vault.Core, error) {
	config := &vault.CoreConfig{
		BuiltinRegistry:    builtin(),
		ClusterName:        "tests",
		CredentialBackends: map[string]logical.Factory{"plugin": plugin.Factory},
		// The pages of a container's memory may not be lockable.
		DisableMlock: true,
		Logger:       logger,
		LogicalBackends: map[string]logical.Factory{
			"database": database.Factory,
			"plugin":   plugin.Factory,
		},
		Physical:     storage,
		RawConfig:    server.NewConfig(),
		RedirectAddr: redirects,
	}
	if chosen.standby != "" {
		config.HAPhysical = storage.(physical.HABackend)
	}
	core, err := vault.NewCore(config)
	if err != nil || chosen.standby != "forwards" {
		return core, err
	}
	// Vault listens for its peers only while it is unsealed, and must know the port
	// before: it is one that was free a moment ago.
	free, err := listen(0)
	if err != nil {
		return nil, err
	}
	address := free.Addr().(*net.TCPAddr)
	_ = free.Close()
	core.SetClusterListenerAddrs([]*net.TCPAddr{address})
	core.SetClusterHandler(handler(core, free))
	return core, nil
}

func handler(core *vault.Core, listener net.Listener) http.Handler {
	properties := &vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Type: "tcp", Address: listener.Addr().String()},
	}
	return vaulthttp.Handler.Handler(properties)
}

// listen waits for a port that is named: since it was free, something that connects to
// somewhere may have it for a moment.
func listen(port int) (net.Listener, error) {
	patience := time.Now().Add(10 * time.Second)
	for {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if port == 0 || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(patience) {
			return listener, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// serve returns only if it cannot serve, and nothing is left to do then.
func serve(server *http.Server, listener net.Listener, certificate, key string) {
	var err error
	if certificate == "" {
		err = server.Serve(listener)
	} else {
		err = server.ServeTLS(listener, certificate, key)
	}
	fmt.Fprintln(os.Stderr, "vault:", err)
	os.Exit(1)
}
