package monitor

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"sync"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// Operators are users outside Ward whom the policy lets change the running
// system: reload it, or set a state by hand. They ask on a socket of their own,
// so that nobody keeps root from asking; who they are says the kernel, as on the
// sockets of exports. A request is decided by the image that is in force when it
// is read, and again when it takes effect, and both verdicts are recorded.

// Bounds of operators' questions. A slot is held while a question is read and answered.
const (
	maxOperators   = 8  // answered at a time, of users whom some policy lets ask
	maxPerOperator = 2  // … of one user ID
	maxStrangers   = 2  // … of all others
	operatorRate   = 5  // connections of one user ID a second …
	operatorBurst  = 20 // … after this many at once
	maxOperatorIDs = 1024
)

// operators is what the monitor knows of those who ask.
type operators struct {
	mu        sync.Mutex
	socket    *listener // nil: no policy lets anybody ask
	may       lobby     // those whom some policy lets
	strangers lobby     // all others
	made      bool      // both are
	closed    bool      // at the end of the system, guarded by Monitor.mu
}

// operate binds the socket of operators if the image in force has any, and
// removes it if it has none. What is connected already is decided anew.
//
// Monitor.mu is not taken while operators.mu is held: the end of the system closes
// the socket with Monitor.mu held.
func (m *Monitor) operate() error {
	o := &m.operators
	m.mu.Lock()
	if m.stopping {
		m.mu.Unlock()
		return nil
	}
	any := hasOperators(m.Image)
	if any && !o.closed {
		o.closed = true
		m.closers = append(m.closers, o.close)
	}
	m.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case any == (o.socket != nil):
		return nil
	case !any:
		o.socket.close()
		o.socket = nil
		return nil
	}
	path := filepath.Join(m.RunDir, admin.OperatorSocket)
	l, err := listenAt(path, socketStream, 0o666)
	if err != nil {
		return err
	}
	if err := m.Holder.Bound(path); err != nil {
		l.close()
		return err
	}
	if !o.made {
		o.init()
	}
	o.socket = l
	go l.serve(m.greet)
	return nil
}

func (o *operators) init() {
	o.may, o.strangers, o.made = newLobby(maxOperators, maxPerOperator), newLobby(maxStrangers, 1), true
}

// hasOperators reports whether some policy may let a user change the system.
func hasOperators(img *image.Image) bool {
	for i := range img.States {
		if len(img.States[i].Set) > 0 {
			return true
		}
	}
	return len(img.Reload.Permit) > 0
}

// close is for the end of the system.
func (o *operators) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.socket != nil {
		o.socket.close()
		o.socket = nil
	}
}

// greet takes a connection of a user over, if there is room for it.
func (m *Monitor) greet(fd int) {
	conn, err := link.Inherited(fd, "question of a user")
	if err != nil {
		return
	}
	c, err := m.Credentials(conn)
	if err != nil {
		conn.Close() // it has gone already
		return
	}
	if c.Pidfd != nil {
		c.Pidfd.Close()
	}
	file, err := conn.File()
	conn.Close()
	if err != nil {
		return
	}
	// Who it is says the kernel, so what it may ask is known before it holds anything.
	leave, ok := m.operators.enter(c.UID, m.mayOperate(&c))
	if !ok {
		file.Close()
		return
	}
	go func() {
		defer leave()
		defer file.Close()
		file.SetDeadline(time.Now().Add(adminTimeout))
		m.answerRequest(file, c.UID, &operator{m, c})
	}()
}

// mayOperate reports whether the policy in force lets a user ask anything at all.
func (m *Monitor) mayOperate(c *Credentials) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return operates(m.Image, m.users.atoms(c))
}

// operates reports whether somebody may reload, or set some state.
func operates(img *image.Image, atoms Atoms) bool {
	if atoms.decide(&img.Reload).Allow {
		return true
	}
	for i := range img.States {
		for v := range img.States[i].Set {
			if atoms.decide(&img.States[i].Set[v]).Allow {
				return true
			}
		}
	}
	return false
}

// enter counts a question of a user in, who may ask something or not, or says
// that there is no room. leave counts it out.
func (o *operators) enter(uid uint32, may bool) (leave func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &o.strangers
	if may {
		l = &o.may
	}
	if !l.enter(uid) {
		return nil, false
	}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		l.leave(uid)
	}, true
}

// operator is who asks.
type operator struct {
	m *Monitor
	c Credentials
}

// may reports whether the policy lets the user ask this. If it does not, it
// answers and records that.
func (o *operator) may(request []byte, out *json.Encoder) bool {
	m := o.m
	if !m.work.asked() {
		out.Encode(admin.Trailer{Error: errStopping.Error()})
		return false
	}
	defer m.work.done()
	m.mu.Lock()
	img, hash, atoms := m.Image, m.Hash, m.users.atoms(&o.c)
	label := (&user{peer: m.users.peer(&o.c)}).label()
	m.mu.Unlock()
	if made := madeFrom(request); made != "" && made != hash {
		// What is decided by this image must take effect under it.
		out.Encode(admin.Trailer{Error: "the policy was changed meanwhile: look at what it is now, and try again"})
		return false
	}
	what, v := judgeOperator(img, atoms, request)
	if v.Allow && what == "" {
		return true // looks only
	}
	e := event.New(event.Notice)
	e.UID, e.PID, e.Policy = o.c.UID, o.c.PID, v.Policy
	e.Text = "user " + label + " "
	if v.Allow {
		e.Text += "may " + what + ", by " + m.policyOf(img, v.Policy)
		m.Audit.Event(e)
		return true
	}
	why := "no policy lets " + label + " do it"
	if v.Policy != abi.NoPolicy {
		why = "forbidden by " + m.policyOf(img, v.Policy)
	}
	e.Text += "may not " + what + ": " + why
	m.Audit.Event(e)
	out.Encode(admin.Trailer{Error: "you may not " + what + ": " + why})
	return false
}

// madeFrom is the hash of the image that a change was made from; "" for what changes nothing.
func madeFrom(request []byte) string {
	switch op := admin.Op(request[0]); {
	case op == admin.OpChange && len(request) >= admin.ChangeSize:
		return hex.EncodeToString(request[3:admin.ChangeSize])
	case op == admin.OpSetState && len(request) == admin.SetStateSize:
		return hex.EncodeToString(request[14:])
	}
	return ""
}

func (m *Monitor) policyOf(img *image.Image, i uint32) string {
	if int(i) < len(img.Policies) {
		return `policy "` + img.Policies[i].ID + `"`
	}
	return "no policy"
}

// judgeOperator decides on a request of a user. what says it in words; it is
// empty for a request that only looks and is allowed, as it is to whoever may
// change anything.
func judgeOperator(img *image.Image, atoms Atoms, request []byte) (what string, v image.Verdict) {
	le := binary.LittleEndian
	denied := image.Verdict{Policy: abi.NoPolicy}
	switch op := admin.Op(request[0]); {
	case op == admin.OpChange && len(request) >= admin.ChangeSize && admin.Kind(request[1]) == admin.Reload:
		return "reload the system", atoms.decide(&img.Reload)
	case op == admin.OpChange:
		return "revoke and grant rights (root may)", denied
	case op == admin.OpSetState && len(request) == admin.SetStateSize:
		cell, value := le.Uint32(request[2:]), le.Uint32(request[10:])
		if int(cell) >= len(img.Cells) {
			return "set a state that is not there", denied
		}
		s := &img.States[img.Cells[cell].State]
		if int(value) >= len(s.Values) {
			return "set state " + s.Name + " to a value that it has not", denied
		}
		if request[1] != 0 {
			return "set a state by force (root may)", denied
		}
		what = "set state " + s.Name + " to " + s.Values[value]
		if len(s.Set) == 0 {
			return what, denied
		}
		return what, atoms.decide(&s.Set[value])
	case (op == admin.OpPS || op == admin.OpImage || op == admin.OpStates) && len(request) == 1:
		if operates(img, atoms) {
			return "", image.Verdict{Allow: true}
		}
		return "look at the system", denied
	}
	return "ask this (root may)", denied
}
