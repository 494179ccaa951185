package batch

import "encoding/binary"

// A Producer is the idempotent producer of a batch, as the batch's header has it.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the batch's first record, from 0; 0 follows the highest
}

var none = Producer{NoProducer, NoProducer, NoProducer}

// Producer is the batch's producer; its ID is NoProducer if it has none.
func (b Batch) Producer() Producer {
	return Producer{b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()}
}

// SetProducer sets the batch's producer and the CRC. It does nothing if the batch has this
// producer.
func (b Batch) SetProducer(p Producer) {
	if b.Producer() == p {
		return
	}
	p.put(b)
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
}

// ClearProducer removes producer id, epoch and sequence, and sets the CRC.
func (b Batch) ClearProducer() { b.SetProducer(none) }

// put writes the producer into a header.
func (p Producer) put(header []byte) {
	binary.BigEndian.PutUint64(header[posProducerID:], uint64(p.ID))
	binary.BigEndian.PutUint16(header[posProducerEpoch:], uint16(p.Epoch))
	binary.BigEndian.PutUint32(header[posBaseSequence:], uint32(p.Sequence))
}
