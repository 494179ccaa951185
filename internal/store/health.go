package store

// Health is the state of a store.
type Health struct {
	Disk        Disk
	NotWritable error // why the data directory can't be written to; nil if it can
	Failed      int   // partitions that accept no appends after an I/O error
	Failure     error // of one of them; nil for none
	Unusable    int   // topics that are damaged or missing
}

// A Disk is the file system of a store.
type Disk struct {
	Free, Size int64 // in bytes; 0 if they are not known
	Reserve    int64 // bytes that publishers leave free
	Full       bool  // publishers are refused
}
