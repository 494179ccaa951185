//go:build !race

package brokertest

// Race says whether tests and programs run under the race detector.
const Race = false

var buildFlags []string
