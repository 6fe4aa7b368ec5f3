package admin

// An Object is what a domain may do with an object of system.yaml, and what it
// has of it. What may be written to a mailbox is among its calls.
type Object struct {
	Name   string  `json:"object"`
	Kind   string  `json:"kind"` // memory, shared memory or mailbox
	Rights []Right `json:"rights"`
	Held   int     `json:"held,omitempty"`  // references to memory; of one instance there may be several
	Bytes  uint64  `json:"bytes,omitempty"` // of these instances together
}

// A Right is one to an object, and the policy that gives it.
type Right struct {
	Access string `json:"access"` // create, read, or write, which is not there without read
	Policy string `json:"policy"`
}
