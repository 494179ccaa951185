// Package cluster has the tests of a whole cluster: broker processes as its nodes, killed and stopped while
// clients publish and consume on all of them.
package cluster

import (
	"testing"

	"mbus/test/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }
