package audit

import "time"

// File is the name of the audit file in a system's run directory.
const File = "audit.jsonl"

// LogDir is the directory for what domains write to their standard output and
// standard error, in a system's run directory: one file for each, of its name,
// and the one before it, with the suffix ".1".
const LogDir = "log"

// Events of a Record.
const (
	EventCompiled  = "compiled"  // the image was loaded: System, Hash, Detail
	EventStarted   = "started"   // Domain, UID, PID, Ring; or a deny
	EventPublished = "published" // From offers Interface at the name server
	EventWithdrawn = "withdrawn"
	EventLookup    = "lookup"  // From asked the name server for Interface
	EventGate      = "gate"    // a gate of Interface From, To was opened or refused
	EventCall      = "call"    // a message of a call from client to server
	EventReply     = "reply"   // a message of a call from server to client
	EventEnded     = "ended"   // Domain ended: Status
	EventLost      = "lost"    // Lost records of Domain or From are missing here
	EventReload    = "reload"  // another image is in force: Hash, UID, Detail
	EventRevoked   = "revoked" // a right was taken away while the system runs: UID, Detail
	EventGranted   = "granted" // … or given
	EventClosed    = "closed"  // a gate that the policy no longer allows was closed
	EventState     = "state"   // somebody has set a state: UID, Detail
	EventNotice    = "notice"  // Detail: something about wardd itself
	EventStopped   = "stopped"
	EventQuota     = "quota"  // Domain ran into a bound of what it may use: Detail
	EventSocket    = "socket" // From was refused Address: Kind is connect, send or bind
	EventObject    = "object" // Domain, or From and To, with Object: Kind is make, open, offer, redeem or receive; Access
)

// Events are all events of a Record.
var Events = []string{EventCompiled, EventStarted, EventPublished, EventWithdrawn, EventLookup, EventGate, EventCall, EventReply, EventEnded, EventLost, EventReload,
	EventRevoked, EventGranted, EventClosed, EventState, EventNotice, EventStopped, EventQuota, EventSocket, EventSpawned, EventLent, EventLentEnded, EventObject}

// Verdicts of a Record.
const (
	Allow = "allow"
	Deny  = "deny"
)

// A Record is one line of the audit file and of `ward up --json`. Keys keep
// their name and meaning; readers must accept keys that they don't know.
type Record struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"` // when it happened, not when it was written
	Seq   uint64    `json:"seq"`  // position in this file, from 1, without gaps

	System string `json:"system,omitempty"`
	Hash   string `json:"hash,omitempty"`  // SHA-256 of the policy image
	Level  string `json:"level,omitempty"` // of compiled: kernel or library, what checks parameters (docs/unprivileged.md)

	Domain string `json:"domain,omitempty"` // whom it is about
	From   string `json:"from,omitempty"`   // sender; a user outside Ward is "user:NAME" or "user:UID"
	To     string `json:"to,omitempty"`     // receiver

	Interface string         `json:"interface,omitempty"` // pkg.Service
	Method    string         `json:"method,omitempty"`    // pkg.Service/Method
	Address   string         `json:"address,omitempty"`   // as in connect and listen of system.yaml: tcp:HOST:PORT
	Object    string         `json:"object,omitempty"`    // as system.yaml names it
	Access    string         `json:"access,omitempty"`    // right to Object: create, open.read, open.write
	Kind      string         `json:"kind,omitempty"`      // of a message: call, reply, error, stream item, stream end, cancel, credit
	Params    map[string]any `json:"params,omitempty"`    // those that the policy looks at, by path in the message
	Absent    []string       `json:"absent,omitempty"`    // those that it looked for in vain: zero, or null where a message can do without

	// The state that the policy of the method looks at or changes, after the
	// decision: NAME of the gate or of the system, DOMAIN.NAME of a domain. Changes
	// counts the changes of these states together, modulo 65,536.
	State   map[string]string `json:"state,omitempty"`
	Changes *uint16           `json:"changes,omitempty"`

	Verdict string `json:"verdict,omitempty"`
	Policy  string `json:"policy,omitempty"` // @id of the policy that decided
	Reason  string `json:"reason,omitempty"` // in words, if no policy decided or a check failed

	UID    *uint32 `json:"uid,omitempty"`
	PID    uint32  `json:"pid,omitempty"` // in wardd's PID namespace
	Ring   *int32  `json:"ring,omitempty"`
	Status *int    `json:"status,omitempty"` // exit status; 128+n after signal n
	Lost   uint64  `json:"lost,omitempty"`
	Detail string  `json:"detail,omitempty"` // for people
}
