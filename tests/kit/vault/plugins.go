package main

import (
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	aws "github.com/hashicorp/vault/builtin/credential/aws"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// plugins are what Vault calls built in, by kind and name. The core itself brings
// token, cubbyhole, identity and system.
type plugins map[consts.PluginType]map[string]any

func builtin() plugins {
	return plugins{
		consts.PluginTypeCredential: {
			"approle":    logical.Factory(approle.Factory),
			"aws":        logical.Factory(aws.Factory),
			"cert":       logical.Factory(cert.Factory),
			"jwt":        logical.Factory(jwt.Factory),
			"kubernetes": logical.Factory(kubernetes.Factory),
			"userpass":   logical.Factory(userpass.Factory),
		},
		consts.PluginTypeSecrets: {
			"kv":      logical.Factory(kv.Factory),
			"transit": logical.Factory(transit.Factory),
		},
		consts.PluginTypeDatabase: {
			"postgresql-database-plugin": postgresql.New,
		},
	}
}

func (p plugins) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	switch plugin := p[kind][name].(type) {
	case nil:
		return nil, false
	// A database's is called for each connection; the others are factories themselves.
	case func() (any, error):
		return plugin, true
	default:
		return func() (any, error) { return plugin, nil }, true
	}
}

func (p plugins) Contains(name string, kind consts.PluginType) bool {
	_, ok := p[kind][name]
	return ok
}

func (p plugins) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range p[kind] {
		names = append(names, name)
	}
	return names
}

func (p plugins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, p.Contains(name, kind)
}

func (p plugins) IsBuiltinEntPlugin(string, consts.PluginType) bool {
	return false
}
