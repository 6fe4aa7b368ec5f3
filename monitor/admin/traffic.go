package admin

// A Traffic is what waits on the gates of a domain now. A pointer is nil where
// nobody counts that.
type Traffic struct {
	Calls    *Backlog `json:"calls,omitempty"`    // that it made, without an answer yet
	Answers  *Backlog `json:"answers,omitempty"`  // calls that it has not answered yet
	Queued   *Backlog `json:"queued,omitempty"`   // bytes that it sent and nobody has read yet, as the kernel counts them, with what it needs to keep them
	Unread   *Backlog `json:"unread,omitempty"`   // bytes that others sent, and that it has not read yet
	Messages *uint64  `json:"messages,omitempty"` // how many of its quota, which counts a second's, cannot be sent at this moment
}

// A Backlog is how much waits on the gates of a domain.
type Backlog struct {
	All   uint64 `json:"all"`
	Most  uint64 `json:"most"`           // on one gate
	Limit uint64 `json:"limit"`          // on that gate
	Gate  *Gate  `json:"gate,omitempty"` // where that is; nil: nothing waits
}

// Add counts what waits on a gate, which may hold so much.
func (w *Backlog) Add(n, limit uint64, g *Gate) {
	w.All += n
	if n > w.Most {
		w.Most, w.Gate, w.Limit = n, g, limit
	}
	w.Limit = max(w.Limit, limit)
}
