package kafka_test

import (
	"hash/crc32"
)

// crcOf is the checksum of a batch.
func crcOf(p []byte) uint32 { return crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)) }
