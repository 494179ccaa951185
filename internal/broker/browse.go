package broker

import "mbus/internal/batch"

// Browse calls f with the records of a partition from an offset on, until f returns false. Damage is
// passed over. A record is valid until f returns; f does not block.
func Browse(log *Partition, from int64, f func(*batch.Record) bool) error {
	start, _ := log.Offsets()
	from = max(from, start)
	return walk(log, from, passOver, func(b batch.Batch) (goOn bool, err error) {
		if b.Count() == 0 || b.IsControl() {
			return true, nil
		}
		err = Scan(func(it *batch.Iterator) error {
			if err := it.Reset(b); err != nil {
				return err
			}
			for it.Next() {
				if r := it.Record(); r.Offset >= from && !f(r) {
					return nil
				}
			}
			goOn = true
			return it.Err()
		})
		return goOn, err
	})
}
