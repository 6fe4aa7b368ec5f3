package admin

// A Mailbox is what `ward ps` shows of a mailbox beside what it shows of every entry.
type Mailbox struct {
	Interface string `json:"interface,omitempty"` // none: nobody may write to it
	Reader    string `json:"reader,omitempty"`    // the domain that may read it
	Reading   bool   `json:"reading"`             // it has asked for what comes
	Writers   int    `json:"writers"`             // gates that are open to it
	Waiting   uint64 `json:"waiting"`             // bytes that were not read yet, with 24 for each message
}
