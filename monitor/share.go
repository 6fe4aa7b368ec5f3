package monitor

import "ward/abi"

// A server's gates are shared out among those that may have some: each client
// domain has its part, with all that come from it, and all users outside together
// have one. So a client that opens gates without end, or whose children do, keeps
// nobody else from the server, nor from the name server. A mailbox's gates outlive
// the processes that posted: there they count after the end of these, too.

// mailboxFull says so to a writer.
const mailboxFull = "this domain has its whole share of the mailbox's gates; those that it, its earlier processes and its children have closed count until what was posted there is read"

// minShare is what a client may have of a server in any case.
const minShare = 2

// shareOut sets the shares of all servers, by the routes of the image.
func (m *Monitor) shareOut() {
	type pair struct{ client, server abi.DomainID }
	clients := map[abi.DomainID]int{}
	seen := map[pair]bool{}
	for i := range m.Image.Routes {
		r := &m.Image.Routes[i]
		key := pair{r.Client, r.Server}
		if seen[key] || !r.Connect.Allow && len(r.ConnectUser.Permit) == 0 || m.isTemplate(r.Client) {
			continue
		}
		seen[key] = true
		clients[r.Server]++
	}
	for _, d := range m.domains {
		d.share = max(minShare, d.limit/max(1, clients[d.id]))
	}
}

// isTemplate reports whether what is called a client is none itself: its children
// have their part in that of who is above them, who may call what they may.
func (m *Monitor) isTemplate(id abi.DomainID) bool {
	return int(id) < len(m.domains) && m.domains[id].def.Template
}

// MaxLeft bounds the processes of one domain and its children that have ended while
// what they posted waits in mailboxes: each keeps routes, an endpoint, and what the
// holder has of them.
const MaxLeft = 16

// leftBehind counts them.
//
// Preconditions: m.mu is held.
func (m *Monitor) leftBehind(d *domain) int {
	ended := map[*domain]bool{}
	for g := range m.gates {
		if g.server.box != nil && g.live[1] && g.client.state == stateEnded && g.client.payer() == d.payer() {
			ended[g.client] = true
		}
	}
	return len(ended)
}

// sharesWith reports whether what a client holds is of the same share: it is the
// same, or of the same family. What processes held that have ended counts at
// mailboxes only: others' servers may be slow to see it.
func (o *opening) sharesWith(client *domain, mailbox bool) bool {
	if client == o.client || client == nil || o.client == nil {
		return client == o.client
	}
	return client.payer() == o.client.payer() && (mailbox || client.state != stateEnded)
}

// exceeds reports which quota leaves no room for one more gate of o at s, or "".
//
// Preconditions: m.mu is held.
func (m *Monitor) exceeds(o *opening, s *domain) string {
	switch {
	case o.client != nil && o.client.ends >= m.gatesOf(o.client):
		return "this domain, with what its children have of it, holds as many as its quota allows"
	case s.ends >= m.gatesOf(s):
		return "the server holds as many as its quota allows"
	}
	held := 0
	for g := range m.gates {
		if g.server == s && g.live[1] && o.sharesWith(g.client, s.box != nil) {
			held++
		}
	}
	for k := range m.making {
		if k.server == s && o.sharesWith(k.o.client, s.box != nil) {
			held++
		}
	}
	switch {
	case s.box != nil && m.leftBehind(o.client) >= MaxLeft:
		return mailboxFull
	case held < s.share:
		return ""
	case s.box != nil:
		return mailboxFull
	case o.client == nil:
		return "users outside hold their whole share of the server's"
	}
	return "this domain, with what comes from it, holds its whole share of the server's"
}
