//go:build tools
// Package natscli pins the version of the `nats` command that the tests use.
package natscli
import _ "github.com/nats-io/natscli/nats"
