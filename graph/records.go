package graph

// A Record is one part of a graph for `--json`.
type Record struct {
	Event       string         `json:"event"` // "domain", "gate", "loan", "file", "address", "memory", "mailbox"
	Domain      string         `json:"domain,omitempty"`
	Ring        *int32         `json:"ring,omitempty"`
	RingName    string         `json:"ring_name,omitempty"`
	From        string         `json:"from,omitempty"` // of a gate or loan; "user:*" for users outside
	To          string         `json:"to,omitempty"`
	Interface   string         `json:"interface,omitempty"`
	Conditional *bool          `json:"conditional,omitempty"`
	Methods     []MethodRecord `json:"methods,omitempty"`
	Object      string         `json:"object,omitempty"`
	Access      string         `json:"access,omitempty"`
	Policy      *Policy        `json:"policy,omitempty"`
}

// A MethodRecord is a Method for `--json`.
type MethodRecord struct {
	Method  string   `json:"method"` // pkg.Service/Method
	Permits []Policy `json:"permits"`
	Unless  []Policy `json:"unless,omitempty"`
	NoReply bool     `json:"no_reply,omitempty"`
}

// Records lists the parts of the graph in the order in which it is drawn.
func (g *Graph) Records() []Record {
	var all []Record
	for _, r := range g.Rings {
		for _, d := range r.Domains {
			all = append(all, Record{Event: "domain", Domain: d, Ring: &r.Level, RingName: r.Name})
		}
	}
	for i := range g.Gates {
		e := &g.Gates[i]
		rec := Record{Event: "gate", From: e.From, To: e.To, Interface: e.Interface, Conditional: &e.Conditional}
		if e.From == "" {
			rec.From = "user:*"
		}
		for _, m := range e.Methods {
			rec.Methods = append(rec.Methods, MethodRecord{e.Interface + "/" + m.Name, m.Permits, m.Unless, m.NoReply})
		}
		all = append(all, rec)
	}
	for i := range g.Loans {
		l := &g.Loans[i]
		rec := Record{Event: "loan", From: l.From, To: l.To, Interface: l.Interface}
		for _, m := range l.Methods {
			rec.Methods = append(rec.Methods, MethodRecord{Method: l.Interface + "/" + m.Name, Permits: m.Permits})
		}
		all = append(all, rec)
	}
	for _, u := range g.Uses {
		o := g.Objects[u.Object]
		rec := Record{Event: o.Kind, Domain: u.From, Object: o.Name, Access: u.Access}
		if u.Policy.ID != "" {
			rec.Policy = &u.Policy
		}
		all = append(all, rec)
	}
	return all
}
