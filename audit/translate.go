package audit

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/filter"
	"ward/image"
)

// namesInterface is the name server's. Admitted calls of it are events of
// their own: what was published and looked up, as the kernel let it pass.
const namesInterface = "ward.v1.Names"

var namesEvents = map[string]string{"Publish": EventPublished, "Withdraw": EventWithdrawn, "Lookup": EventLookup}

// A translator turns numbers into names, by the image and by what the monitor
// has said of gates to users.
type translator struct {
	img    *image.Image
	offset int64              // wall clock minus CLOCK_BOOTTIME, ns
	gates  map[uint32][]guest // gates of users, by number, in order of time
	params map[string]*looks

	children children // children.go
	hash     string   // of the image; "": it is that of the start

	before *translator // by the image before this one
	since  uint64      // when this one came into force
	until  uint64      // when no filter of the one before was running any more
}

func newTranslator(img *image.Image) *translator {
	t := &translator{img: img, gates: map[uint32][]guest{}, params: map[string]*looks{}, children: children{}}
	t.setClock()
	return t
}

// setClock follows the wall clock, which may be set while the system runs.
func (t *translator) setClock() { t.offset = time.Now().UnixNano() - int64(event.Now()) }

func (t *translator) time(boot uint64) time.Time { return time.Unix(0, int64(boot)+t.offset).UTC() }

func (t *translator) domain(id abi.DomainID) string {
	if int(id) < len(t.img.Domains) {
		return t.img.Domains[id].Name
	}
	return t.children.name(id)
}

func (t *translator) policy(i uint32) string {
	if int(i) < len(t.img.Policies) {
		return t.img.Policies[i].ID
	}
	return ""
}

// counted writes a number of things.
func counted(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return strconv.Itoa(n) + " " + many
}

func userLabel(uid uint32, name string) string {
	if name == "" {
		name = strconv.FormatUint(uint64(uid), 10)
	}
	return "user:" + name
}

func verdict(allow bool) string {
	if allow {
		return Allow
	}
	return Deny
}

// decided fills in who decided and why.
func (t *translator) decided(r *Record, allow bool, reason abi.Reason, policy uint32) {
	r.Verdict, r.Policy = verdict(allow), t.policy(policy)
	if r.Policy == "" || reason != abi.ReasonForbid && reason != abi.ReasonPermit && reason != abi.ReasonNone {
		r.Reason = reason.String()
	}
}

// event translates what the monitor says. The second result is false for what
// is no line of its own.
func (t *translator) event(e *event.Event) (Record, bool) {
	if e.Kind == event.Reloaded || e.Kind == event.Revoked || e.Kind == event.Granted {
		t.until = min(t.until, e.Time)
	}
	r := Record{Time: t.time(e.Time), Domain: t.domain(e.Domain), From: t.domain(e.From), To: t.domain(e.To), PID: e.PID}
	switch e.Kind {
	case event.Compiled:
		r.Event, r.System, r.Hash, r.Level = EventCompiled, t.img.Name, e.Text, levelOf(e)
		methods := 0
		for _, i := range t.img.Interfaces {
			methods += len(i.Methods)
		}
		r.Detail = counted(len(t.img.Domains), "domain", "domains") + ", " + counted(methods, "method", "methods") + ", " +
			counted(len(t.img.Policies), "policy", "policies")
		if r.Level == abi.LevelLibrary.String() {
			r.Detail += "; level library: the kernel checks methods and sizes, the receivers' libraries the parameters"
		}
	case event.Started:
		r.Event = EventStarted
		reason := abi.ReasonDefault
		if e.Policy != event.None {
			reason = abi.ReasonPermit
			if !e.Allow {
				reason = abi.ReasonForbid
			}
		}
		t.decided(&r, e.Allow, reason, e.Policy)
		r.Ring = &e.Ring
		if e.Allow {
			r.UID = &e.UID
		}
	case event.Ended:
		status := int(e.Status)
		r.Event, r.Status = EventEnded, &status
		if r.Domain == "" { // a child that ended before a new writer was told who it is
			r.Domain = e.Text
		}
	case event.Gate:
		t.gate(&r, e)
	case event.Serve:
		t.refusedServe(&r, e)
	case event.Spawned:
		t.spawned(&r, e)
	case event.Lent, event.LentEnded:
		t.lentBy(&r, e)
	case event.Object:
		t.object(&r, e)
	case event.Notice:
		r.Event, r.Detail = EventNotice, e.Text
	case event.Quota:
		r.Event, r.Detail = EventQuota, e.Text
	case event.Stopped:
		status := int(e.Status)
		r.Event, r.System, r.Status, r.Detail = EventStopped, t.img.Name, &status, e.Text
	case event.Reloaded:
		r.Event, r.System, r.Hash, r.UID = EventReload, t.img.Name, e.Text, &e.UID
		r.Detail = fmt.Sprintf("%s swapped, %d closed", counted(int(e.Status), "gate", "gates"), e.Count)
		r.Detail += inPart(e)
	case event.Revoked:
		r.Event, r.System, r.UID, r.Detail = EventRevoked, t.img.Name, &e.UID, e.Text+inPart(e)
	case event.Granted:
		r.Event, r.System, r.UID, r.Detail = EventGranted, t.img.Name, &e.UID, e.Text+inPart(e)
	case event.StateSet:
		r.Event, r.UID, r.Detail = EventState, &e.UID, e.Text
	case event.Closed:
		t.closed(&r, e)
	case event.Lost:
		r.Event, r.Lost, r.Detail = EventLost, e.Count, "events of the monitor"
	default:
		return Record{}, false
	}
	return r, true
}

// inPart says of a change of the policy whether it is in force everywhere.
func inPart(e *event.Event) string {
	if e.Reason == abi.ReasonClosed {
		return "; it is not in force everywhere, and where it is not nothing passes"
	}
	return ""
}

// refusedServe is a refused publication, told before the name server hears of it.
func (t *translator) refusedServe(r *Record, e *event.Event) {
	r.Event, r.Interface = EventPublished, e.Text
	t.decided(r, false, e.Reason, e.Policy)
	if int(e.Interface) < len(t.img.Interfaces) {
		r.Interface = t.img.Interfaces[e.Interface].Name
	}
	if e.Reason == abi.ReasonDefault && e.Policy == event.None {
		r.Detail = "it does not export it"
	}
}

// levelOf is the level of a system that has just been loaded.
func levelOf(e *event.Event) string {
	if len(e.List) > 0 {
		return abi.Level(e.List[0]).String()
	}
	return abi.LevelKernel.String()
}

func (t *translator) gate(r *Record, e *event.Event) {
	r.Event = EventGate
	reason := e.Reason
	if e.Allow {
		reason = abi.ReasonPermit
	}
	t.decided(r, e.Allow, reason, e.Policy)
	if int(e.Interface) < len(t.img.Interfaces) {
		r.Interface = t.img.Interfaces[e.Interface].Name
	} else {
		r.Interface = e.Text
	}
	switch {
	case e.From == abi.NoDomain:
		r.From, r.UID = userLabel(e.UID, e.Text), &e.UID
	case e.Allow: // in whose name
		r.Detail = e.Text
	}
}

// closed is a gate that the policy no longer allows.
func (t *translator) closed(r *Record, e *event.Event) {
	r.Event = EventClosed
	t.decided(r, false, e.Reason, e.Policy)
	if int(e.Interface) < len(t.img.Interfaces) {
		r.Interface = t.img.Interfaces[e.Interface].Name
	}
	if e.Reason == abi.ReasonNotRunning {
		r.Reason, r.Detail = "", "its interface has changed"
	}
	if e.From == abi.NoDomain {
		r.From, r.UID = userLabel(e.UID, e.Text), &e.UID
	}
}

// stranger reports whether a record is of a gate to a user, or of a child, that is not known.
func (t *translator) stranger(k *abi.Record) bool {
	child := func(id abi.DomainID) bool { return id == abi.NoDomain || id >= image.FirstChild }
	return (child(k.From) || child(k.To)) && t.guest(k.Gate, k.Time) == nil
}

// record translates what a filter says.
func (t *translator) record(k *abi.Record) Record {
	if k.Kind == abi.KindSocket {
		return t.socket(k)
	}
	r := Record{Event: EventCall, Time: t.time(k.Time), From: t.domain(k.From), To: t.domain(k.To), Kind: kindNames[k.Kind]}
	if k.Dir == abi.Reply {
		r.Event = EventReply
	}
	t.decided(&r, k.Reason.Allowed(), k.Reason, policyOf(k))
	atoms := filter.Atoms{User: -1}
	if k.From == abi.NoDomain || k.To == abi.NoDomain {
		label := "user"
		if g := t.guest(k.Gate, k.Time); g != nil {
			label, atoms = g.label, g.atoms
			r.UID = &g.uid
		}
		if k.From == abi.NoDomain {
			r.From = label
		} else {
			r.To = label
		}
	}
	if c, ok := t.chainOf(k); ok {
		atoms.Chain = c
	}
	if g := t.guest(k.Gate, k.Time); g != nil && g.lent != nil {
		r.Detail = g.name
	}
	if int(k.Route) >= len(t.img.Routes) {
		return r
	}
	f := &t.img.Interfaces[t.img.Routes[k.Route].Interface]
	if int(k.Method) >= len(f.Methods) || k.Reason == abi.ReasonShort || k.Reason == abi.ReasonVersion {
		r.Interface = f.Name // which method is not known
		return r
	}
	method := f.Methods[k.Method].Name
	r.Method = f.Name + "/" + method
	if !k.Reason.Allowed() && (k.Reason >= abi.ReasonUnknownField && k.Reason < abi.ReasonRate || k.Reason == abi.ReasonHandle) && k.Detail != 0 {
		r.Detail = fmt.Sprintf("field %d", k.Detail)
	}
	r.Params, r.Absent = t.values(k, atoms)
	r.State, r.Changes = t.state(k, atoms)
	if name := namesEvents[method]; name != "" && f.Name == namesInterface && k.Dir == abi.Request && k.Kind == abi.KindCall {
		r.Event = name
		r.Interface, _ = r.Params["interface"].(string)
	}
	return r
}

// policyOf is the policy that decided on a message, if one did.
func policyOf(k *abi.Record) uint32 {
	switch k.Reason {
	case abi.ReasonPermit, abi.ReasonForbid, abi.ReasonRate, abi.ReasonState:
		return k.Detail
	}
	return abi.NoPolicy
}

var kindNames = map[abi.Kind]string{abi.KindCall: "call", abi.KindReply: "reply", abi.KindError: "error",
	abi.KindStreamItem: "stream item", abi.KindStreamEnd: "stream end", abi.KindCancel: "cancel", abi.KindCredit: "credit"}

// values are the parameters that the filter remembered, and the names of those
// that it looked for in vain. A record of a message that was not read to its end
// has neither.
func (t *translator) values(k *abi.Record, atoms filter.Atoms) (values map[string]any, absent []string) {
	params := t.paramsOf(k, atoms)
	if t.ambiguous(k, params, atoms) {
		return nil, nil
	}
	for i, p := range params[:min(len(params), len(k.Params))] {
		if k.Present>>i&1 == 0 {
			absent = append(absent, p.Name)
			continue
		}
		if values == nil {
			values = map[string]any{}
		}
		if p.Text && p.Type != image.Bytes {
			values[p.Name] = text(params, k, i)
			continue
		}
		values[p.Name] = value(&p, k.Params[i])
	}
	return values, absent
}

// text is what the filter remembered of string i, marked if it is not the whole.
func text(params []filter.Param, k *abi.Record, i int) string {
	start, size := filter.Text(params, k, i)
	if len(start) < size {
		return string(start) + "…"
	}
	return string(start)
}

func value(p *filter.Param, v uint64) any {
	switch {
	case p.Count:
		return map[string]uint64{"count": v}
	case p.Type == image.Bytes:
		return map[string]uint64{"size": v & 0xffffffff}
	case p.Type == image.Bool:
		return v != 0
	case p.Type == image.Nested: // what is remembered of it is that it is there
		return true
	case p.Type == image.Uint64 || p.Type == image.Fixed64:
		return v
	}
	return int64(v)
}

// paramsOf are the parameters of a message's method, in the order of the
// filter. Of users the policy that is left depends on who it is.
func (t *translator) paramsOf(k *abi.Record, atoms filter.Atoms) []filter.Param {
	p := t.looksOf(k, atoms)
	if p == nil {
		return nil
	}
	return slices.Clip(p.params[k.Method])
}

// looks is what the programs of a route look at, by direction.
type looks [2]look

// A look is what the program of one direction looks at, by method.
type look struct {
	params [][]filter.Param
	words  [][]uint32 // of state
}

// looksOf finds what the program looks at that wrote k, whose method it has; nil: that is not known.
func (t *translator) looksOf(k *abi.Record, atoms filter.Atoms) *look {
	key := fmt.Sprint(k.Route, atoms)
	p, ok := t.params[key]
	if !ok {
		if len(t.params) > maxParams {
			clear(t.params)
		}
		if spec, err := filter.Build(t.img, k.Route, atoms); err == nil {
			p = &looks{}
			for dir := range p {
				p[dir] = look{spec.Programs[dir].Params, spec.Programs[dir].Words}
			}
		}
		t.params[key] = p
	}
	if p == nil || k.Dir > abi.Reply || int(k.Method) >= len(p[k.Dir].params) {
		return nil
	}
	return &p[k.Dir]
}

// maxParams bounds what is remembered of routes.
const maxParams = 4096
