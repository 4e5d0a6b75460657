package oona

// Fields of a dead letter beside the untouched payload and signature (contract
// section 9). The commit script adds deliveries.
const (
	deadReason      = "reason"
	deadError       = "error"
	deadAttempts    = "attempts"
	deadDeliveries  = "deliveries"
	deadStream      = "stream"
	deadGroup       = "group"
	deadEntryID     = "entry_id"
	deadFirstFailed = "first_failed_at_ms"
	deadLastFailed  = "last_failed_at_ms"
	deadConsumer    = "consumer"
)
