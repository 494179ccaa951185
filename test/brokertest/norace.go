//go:build !race

package brokertest

var buildFlags []string
