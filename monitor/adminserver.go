package monitor

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// maxAdmin bounds how many questions are answered at a time.
const maxAdmin = 8

const adminTimeout = 5 * time.Second

// listenAdmin makes the socket for `ward ps` and `ward down`.
func (m *Monitor) listenAdmin() error {
	path := filepath.Join(m.RunDir, admin.Socket)
	l := m.adminBack // of a monitor before this one
	if l == nil {
		var err error
		if l, err = listenAt(path, socketStream, 0o600); err != nil {
			return err
		}
		m.keepSocket(keptAdmin, l)
	}
	m.addCloser(l)
	if err := m.Holder.Bound(path); err != nil {
		return err
	}
	slots := make(chan struct{}, maxAdmin)
	go l.serve(func(fd int) {
		select {
		case slots <- struct{}{}:
			go func() { m.answerAdmin(fd); <-slots }()
		default:
			unix.Close(fd)
		}
	})
	return nil
}

// answerAdmin answers one question of root.
func (m *Monitor) answerAdmin(fd int) {
	conn := os.NewFile(uintptr(fd), "question")
	defer conn.Close()
	who, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || who.Uid != 0 {
		return // the mode of the socket says the same
	}
	conn.SetDeadline(time.Now().Add(adminTimeout))
	m.answerRequest(conn, who.Uid, nil)
}

// answerRequest reads one question and answers it: of root, or of the user that
// op is not nil for, who may ask what the policy lets it. An answer of lines ends
// with a line that says so.
func (m *Monitor) answerRequest(conn *os.File, uid uint32, op *operator) {
	var request [admin.MaxRequest]byte
	n, file, err := recvAdmin(conn, request[:])
	if file != nil {
		defer file.Close()
	}
	if err != nil || n == 0 {
		return
	}
	out := json.NewEncoder(conn)
	if op != nil && !op.may(request[:n], out) {
		return
	}
	root := op == nil
	switch op := admin.Op(request[0]); {
	case op == admin.OpPS && n == 1:
		m.look()
		left := adminTimeout // for who asks; what the monitor takes does not count
		for _, id := range m.everyID() {
			a, ok := m.describe(id, false)
			began := time.Now()
			conn.SetDeadline(began.Add(left))
			if ok && out.Encode(a) != nil {
				return
			}
			left -= time.Since(began)
		}
		out.Encode(admin.End)
	case op == admin.OpDescribe && n == 5:
		m.look()
		id := abi.DomainID(binary.LittleEndian.Uint32(request[1:]))
		if a, ok := m.describe(id, true); ok {
			a.Descriptor.Traffic = m.traffic(id)
			out.Encode(a)
		}
		out.Encode(admin.End)
	case op == admin.OpDown && n == 1:
		m.Stop()
		out.Encode(admin.End)
	case op == admin.OpUpgrade && n == 1 && root:
		why := m.upgrade()
		conn.SetDeadline(time.Now().Add(adminTimeout))
		out.Encode(admin.Trailer{Error: why})
	case op == admin.OpImage && n == 1:
		m.sendImage(conn)
	case op == admin.OpStates && n == 1:
		m.sendStates(out)
	case op == admin.OpSetState && n == admin.SetStateSize:
		m.answerSetState(out, request[:n], uid)
	case op == admin.OpChange && n >= admin.ChangeSize && file != nil:
		m.answerChange(conn, request[:n], uid, file)
	}
}

var stateNames = map[state]string{stateWaiting: admin.Waiting, stateStarting: admin.Waiting, stateRunning: admin.Running,
	stateEnded: admin.Ended, stateRefused: admin.Refused, stateTemplate: admin.Template, stateMailbox: admin.Mail}

// look finds out which gates have ended, for all that is described after it:
// the kernel lists all sockets at once.
func (m *Monitor) look() {
	if m.work.asked() {
		defer m.work.done()
		m.sweepCalmly()
	}
}

// describe says what a domain or child is, unless it has gone.
func (m *Monitor) describe(id abi.DomainID, whole bool) (a admin.Domain, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.find(id)
	if d == nil {
		return a, false
	}
	a = admin.Domain{Index: uint32(id), Name: d.def.Name, State: stateNames[d.state], PID: d.process.PID, UID: d.process.UID,
		Cgroup: d.process.Cgroup, Ring: d.def.Ring.Level, RingName: d.def.Ring.Name, Gates: d.ends, Level: m.Level.String(), Child: m.childhood(d), Mailbox: m.describeMailbox(d)}
	if d.state == stateEnded {
		a.Status = &d.status
	}
	switch {
	case d.again:
		a.State = admin.Waiting
	case d.state == stateRunning && d.leaving != nil:
		a.State = admin.Ending
	}
	a.Exit, a.Restarts, a.Says, a.Ready = d.reason, d.restarts, d.says, d.isReady
	count := d.last
	if d.endpoint != nil {
		if c, err := d.endpoint.Counters(); err == nil {
			count = c
		}
	}
	a.Denied, a.Allowed, a.Lost = count.Denied, count.Allowed, count.Lost
	full := m.descriptor(d)
	a.MayCall, a.Files, a.Exports = len(full.Calls), len(full.Files), len(full.Exports)
	if whole {
		a.Descriptor = full
	}
	return a, true
}

// descriptor collects all that a domain may do.
func (m *Monitor) descriptor(d *domain) *admin.Descriptor {
	full := &admin.Descriptor{Program: d.def.Program, Digest: hex.EncodeToString(d.def.Digest), Connect: d.def.Connect,
		Quota: m.limitsOf(d), Hits: d.bounds(), Children: m.offspring(d), Loans: m.loansOf(d), Objects: m.objectsOf(d)}
	full.Routes, _ = m.loadedKin(d)
	for i := range m.Image.Routes {
		switch r := &m.Image.Routes[i]; {
		case r.Client != d.base() || !r.Connect.Allow:
		case d.kin != nil:
			full.Calls = append(full.Calls, m.childCalls(d, uint32(i))...)
		default:
			full.Calls = append(full.Calls, m.calls(r)...)
		}
	}
	for _, f := range d.def.Files {
		if f.Verdict.Allow {
			full.Files = append(full.Files, admin.File{Path: f.Path, Access: access(f.Access), AsRoot: f.AsRoot, Policy: m.policyID(f.Verdict.Policy)})
		}
	}
	for _, l := range d.def.Listen {
		full.Listen = append(full.Listen, l.Name+"="+l.Address)
	}
	for _, e := range d.def.Exports {
		if e.Publish.Allow {
			full.Exports = append(full.Exports, admin.Export{Interface: m.Image.Interfaces[e.Interface].Name, Socket: e.Socket,
				Serving: d.serving[e.Interface], Policy: m.policyID(e.Publish.Policy)})
		}
	}
	for g := range m.gates {
		if g.client == d && g.live[0] || g.server == d && g.live[1] {
			iface, from, to := m.names(g)
			full.Held = append(full.Held, admin.Gate{Interface: iface, From: from, To: to})
		}
	}
	return full
}

func (m *Monitor) calls(r *image.Route) []admin.Call {
	var calls []admin.Call
	f := &m.Image.Interfaces[r.Interface]
	for i := range r.Methods {
		request := &r.Methods[i].Request
		if len(request.Permit) == 0 {
			continue
		}
		c := admin.Call{Method: f.Name + "/" + f.Methods[i].Name, To: m.Image.Domains[r.Server].Name}
		for _, rule := range request.Permit {
			c.Policies = append(c.Policies, m.policyID(rule.Policy))
		}
		for _, rule := range request.Forbid {
			c.Forbids = append(c.Forbids, m.policyID(rule.Policy))
		}
		calls = append(calls, c)
	}
	return calls
}

func (m *Monitor) policyID(i uint32) string {
	if int(i) < len(m.Image.Policies) {
		return m.Image.Policies[i].ID
	}
	return ""
}

func access(a image.Access) string {
	s := ""
	for i, letter := range "rwx" {
		if a&(1<<i) != 0 {
			s += string(letter)
		}
	}
	return s
}
