package admin

// A Child is what a child is beside a domain (docs/spawn.md).
type Child struct {
	Parent   string   `json:"parent"`
	Lineage  []string `json:"lineage"` // its parent, its parent's parent, and so on; the last is of the system
	Template string   `json:"template"`
	Adopted  bool     `json:"adopted,omitempty"` // it may outlive its parent
	Left     int64    `json:"left_ns,omitempty"` // of its life time; 0: it has no end of its own
	Rights   []string `json:"rights"`            // entry points that it was given, pkg.Service/Method
}

// A Level is a policy over a child: that of one of its ancestors.
type Level struct {
	Of       string   `json:"of"`
	Policies []string `json:"policies"` // permits that can match
	Forbids  []string `json:"forbids,omitempty"`
}

// Offspring is what a domain has of the children that it may have, and what of
// its quotas it has given to them.
type Offspring struct {
	Children       int    `json:"children"`
	MaxChildren    uint32 `json:"max_children"`
	Descendants    int    `json:"descendants"` // in all generations
	MaxDescendants uint32 `json:"max_descendants"`
	Depth          uint32 `json:"depth"`   // generations that it may have below it
	Inherit        string `json:"inherit"` // none, listed or all
	// What its children have of the quotas that system.yaml states for it: other
	// children cannot get it. It takes nothing from the domain itself.
	Given Quota `json:"given"`
}

// A Loan is a delegation that a domain has given or got.
type Loan struct {
	ID    uint32 `json:"id"`
	From  string `json:"from"` // in whose name
	To    string `json:"to"`
	Entry string `json:"entry"` // pkg.Service/Method
	Left  int64  `json:"left_ns"`
	Uses  uint32 `json:"uses,omitempty"` // in all; 0: no limit
}
