package web

import (
	"strconv"

	"mbus/internal/cluster"
)

var (
	metricOwner    = gauge("mbus_cluster_owner", "Number of the node that owns the topics; 0 while none does. Only nodes of a cluster have this and the next ones.")
	metricOwns     = gauge("mbus_cluster_owns", "1 if this node owns the topics, otherwise 0.")
	metricEpoch    = gauge("mbus_cluster_epoch", "Number of the takeover of the topics; it grows with each.")
	metricPaused   = counter("mbus_cluster_paused_seconds_total", "Time for which this node has known no owner of the topics, since its start.")
	metricNodeUp   = gauge("mbus_cluster_node_up", "1 if a node runs, otherwise 0, as this node knows it.", "node")
	metricNodeLag  = gauge("mbus_cluster_node_lag_entries", "Entries of the replicas that a node lacks.", "node")
	metricProblems = gauge("mbus_cluster_problems", "Problems of the cluster, which GET /nodes names.")
)

// cluster collects the numbers of a cluster, as one of its nodes knows them.
func (s *scrape) cluster(r *cluster.Report, self int32) {
	s.set(metricOwner, float64(r.Owner), "")
	owns := 0.0
	if r.Owner == self {
		owns = 1
	}
	s.set(metricOwns, owns, "")
	s.set(metricEpoch, float64(r.Epoch), "")
	s.set(metricPaused, r.Paused, "")
	s.set(metricProblems, float64(len(r.Problems)), "")
	for _, n := range r.Nodes {
		of := labels("node", strconv.Itoa(int(n.Node)))
		up := 1.0
		if n.State == cluster.Gone {
			up = 0
		}
		s.set(metricNodeUp, up, of)
		s.set(metricNodeLag, float64(n.Lag), of)
	}
}
