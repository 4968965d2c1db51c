// Package okta stands in for the real one, by which a login asks for a second factor at
// Okta: one package that takes a sixth of the whole build. A configuration cannot be
// made, so that nothing else is ever called: it is what Vault must see to compile.
package okta

import (
	"context"
	"errors"
	"net/http"
)

var errLeftOut = errors.New("Okta is left out of this build")

type (
	// Configuration cannot be made.
	Configuration struct{ Context context.Context }
	// ConfigSetter changes nothing.
	ConfigSetter func(*Configuration)

	// APIClient calls nobody.
	APIClient struct {
		UserAPI       users
		UserFactorAPI factors
	}
	users   struct{}
	factors struct{}

	// Request fails.
	Request[T any] struct{}

	// User is nobody.
	User struct{}
	// Factor is none.
	Factor struct{ UserFactorPush *UserFactorPush }
	// UserFactorPush is none.
	UserFactorPush struct{}
	// Verification has not begun.
	Verification struct{ Links map[string]any }
	// Status is none.
	Status struct {
		UserFactorPushTransaction         *struct{}
		UserFactorPushTransactionRejected *struct{}
		UserFactorPushTransactionTimeout  *struct{}
		UserFactorPushTransactionWaiting  *struct{}
	}
)

// NewConfiguration fails.
func NewConfiguration(...ConfigSetter) (*Configuration, error) { return nil, errLeftOut }

// WithToken does nothing.
func WithToken(string) ConfigSetter { return nil }

// WithOrgUrl does nothing.
func WithOrgUrl(string) ConfigSetter { return nil }

// WithCache does nothing.
func WithCache(bool) ConfigSetter { return nil }

// NewAPIClient is never called.
func NewAPIClient(*Configuration) *APIClient { return &APIClient{} }

// GetConfig is never called.
func (*APIClient) GetConfig() *Configuration { return &Configuration{} }

func (users) ListUsers(context.Context) Request[[]User] { return Request[[]User]{} }

func (factors) ListFactors(context.Context, string) Request[[]Factor] { return Request[[]Factor]{} }

func (factors) VerifyFactor(context.Context, string, string) Request[Verification] {
	return Request[Verification]{}
}

func (factors) GetFactorTransactionStatus(context.Context, string, string, string) Request[Status] {
	return Request[Status]{}
}

// Filter changes nothing.
func (request Request[T]) Filter(string) Request[T] { return request }

// Execute fails.
func (Request[T]) Execute() (nothing T, response *http.Response, err error) {
	return nothing, nil, errLeftOut
}

// GetId is empty.
func (User) GetId() string { return "" }

// GetId is empty.
func (UserFactorPush) GetId() string { return "" }

// GetFactorResult is empty.
func (Verification) GetFactorResult() string { return "" }
