// Command vault serves a HashiCorp Vault for the tests: Vault's own core and HTTP
// interface, with those plugins that the tests use and no others.
//
// Vault is licensed under the Business Source License 1.1. Nothing of it is in this
// repository: this program is ours, Vault is one of its dependencies, and it is built
// and run for tests only, never distributed.
//
// It prints one line of JSON once it listens, the addresses of its nodes in order. They
// are sealed, and not initialized unless their data were there before: that is done as
// with any other Vault, by its API. It ends with its standard input, at once.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

// options are what the tests may choose.
type options struct {
	directory   string
	standby     string
	port        int
	certificate string
	key         string
}

func main() {
	var chosen options
	flag.StringVar(&chosen.directory, "directory", "", "keep the data in this directory, not in memory")
	flag.StringVar(&chosen.standby, "standby", "", "a second node that \"redirects\" or \"forwards\" while it stands by")
	flag.IntVar(&chosen.port, "port", 0, "the port of the first node; 0 is any that is free")
	flag.StringVar(&chosen.certificate, "certificate", "", "serve over TLS too, on any port, with this certificate")
	flag.StringVar(&chosen.key, "key", "", "the key of the certificate")
	flag.Parse()

	nodes, err := start(chosen)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(nodes)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}
