package system

import (
	"errors"
	"strconv"
	"strings"

	"ward/diag"
	"ward/ring"
)

// Models are the names that `use` may have: the standard library of policies (models/).
var Models = []string{"ward/rings-multics", "ward/rings-x86", "ward/ring-distance", "ward/ring-order", "ward/mls", "ward/biba",
	"ward/low-water-mark", "ward/roles", "ward/separation-of-duty", "ward/ownership"}

// Limits of labels and roles.
const (
	maxLevel      = 63 // of secrecy and integrity
	maxCategories = 64 // of one label
	maxRoles      = 256
)

// A Use is an entry of `use`.
type Use struct {
	Model String
	Limit int32 // ward/ring-distance: the most rings that a call may cross; 0: not said
}

// A Label of a domain; the zero value is the lowest.
type Label struct {
	Level      int32 // of secrecy: a higher number is more secret
	Categories []String
	Integrity  int32 // a higher number is purer
	Trusted    bool  // may pass secrets down
	Pos        diag.Pos
}

// A Role as declared at the top; a role that only domains name has no entry.
type Role struct {
	Name         String
	Users        []String // users outside Ward who have it
	Includes     []String // roles whose rights it has, too
	Excludes     []String // roles that nobody may have beside it
	ExcludesActs []String // roles that nobody may act in who acted in this one
	May          []String // pkg.Service/Method or pkg.Service
}

// A Bracket is a call bracket in levels of rings.
type Bracket struct {
	ring.Bracket
	Pos diag.Pos
}

// An ExportMethod says more of one method of an export; what it does not say
// is as the export says.
type ExportMethod struct {
	Name    String
	Bracket *Bracket
	Trust   String
	Flow    String
}

// Values of `trust` and `flow`.
const (
	WithinRing = "within-ring"
	FlowCall   = "call"
	FlowReply  = "reply"
)

var roleName = str("A role.", namePattern, nameHint)

func rolesOf(doc string) *shape { return listOf(doc, maxRoles, roleName) }

var useShape = listOf("Models of the standard library of policies (docs/models.md).", uint64(len(Models)), anyOf("A model.",
	oneOf("Name of a model.", Models...),
	objectOf("A model, with more to say.",
		key{"model", true, oneOf("Name of a model.", Models...)},
		key{"limit", false, number("`ward/ring-distance`: the most rings that a call may cross; without it, 1.", 1, ring.Max-1)})))

var ringsShape = anyOf("The rings. Without it: kernel, service, system, user.",
	listOf("Names, the most trusted first.", ring.Max, str("A ring.", namePattern, nameHint)),
	tableOf("A partial order: for each ring those directly above it, which are more trusted.", ring.Max, str("A ring.", namePattern, nameHint),
		listOf("The rings directly above.", ring.Max, str("A ring.", namePattern, nameHint))))

var rolesShape = tableOf("Roles, with what they are related to; a role needs no entry here.", maxRoles, roleName,
	objectOf("A role.",
		key{"users", false, listOf("Users of the host who have the role, at exported sockets.", maxEntries, userShape)},
		key{"includes", false, rolesOf("Roles whose rights it has, too.")},
		key{"excludes", false, rolesOf("Roles that no domain and no user may have beside it (`ward/separation-of-duty`).")},
		key{"excludes_acts", false, rolesOf("Roles in which nobody may act who acted in this one, and the reverse (`ward/separation-of-duty`).")},
		key{"may", false, listOf("What the role may call (`ward/roles`).", maxEntries,
			str("A method or a whole interface.", `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+(/[A-Za-z_][A-Za-z0-9_]*)?$`, "pkg.v1.Service/Method or pkg.v1.Service"))}))

var userShape = str("A user of the host.", `^[^:/\x00-\x1f\x7f]{1,256}$`, "the name of a user, without ':' and '/'")

var labelShape = objectOf("Label of the domain; what is left out is lowest.",
	key{"level", false, number("Level of secrecy; higher is more secret.", 0, maxLevel)},
	key{"categories", false, listOf("Categories of secrecy.", maxCategories, str("A category.", namePattern, nameHint))},
	key{"integrity", false, number("Level of integrity; higher is purer.", 0, maxLevel)},
	key{"trusted", false, yesNo("A trusted subject: it may pass secrets down (`ward/mls`).")})

var bracketShape = listOf("Call bracket [n1, n2, n3], in levels or names of rings.", 3, anyOf("A ring.",
	number("Level of a ring.", 0, ring.Max-1), str("Name of a ring.", namePattern, nameHint)))

// ruleKeys are what may be said of an export and of one of its methods.
var ruleKeys = []key{
	{"bracket", false, bracketShape},
	{"trust", false, oneOf("`within-ring`: callers of this ring and more trusted ones are spared the conditions of permits on parameters.", WithinRing)},
	{"flow", false, oneOf("Which message carries information; the other is empty (`ward/mls`, `ward/biba`).", FlowCall, FlowReply)},
}

var methodShape = objectOf("Rules for one method.", ruleKeys...)

// exportKeys are the keys of an export that models read.
var exportKeys = append(append([]key{}, ruleKeys...),
	key{"entry", false, listOf("Methods that callers of the gate part of the bracket may use; without it, all (`ward/rings-multics`).", maxEntries, methodName)},
	key{"data", false, str("Ring whose data the replies carry: less trusted callers do not get them (`ward/rings-x86`).", namePattern, nameHint)},
	key{"methods", false, tableOf("Rules for single methods.", maxEntries, methodName, methodShape)})

var methodName = str("A method.", `^[A-Za-z_][A-Za-z0-9_]*$`, "the name of a method of the interface")

// use reads the models that are turned on.
func (b *builder) use(v *value) {
	if v == nil {
		return
	}
	seen := map[string]diag.Pos{}
	for _, e := range v.list {
		u := Use{Model: String{e.text, e.pos}}
		if e.shape.kind == object {
			u.Model, u.Limit = e.string("model"), int32(e.number("limit"))
		}
		first, twice := seen[u.Model.Value]
		switch {
		case u.Model.Value == "": // a finding already
			continue
		case twice:
			b.out.Errorf(u.Model.Pos, "", "the model %q is there twice, first on line %d", u.Model.Value, first.Line)
			continue
		case u.Limit != 0 && u.Model.Value != "ward/ring-distance":
			b.out.Errorf(e.get("limit").pos, "leave it out", "the model %s has no limit", u.Model.Value)
		}
		seen[u.Model.Value] = u.Model.Pos
		b.sys.Use = append(b.sys.Use, u)
	}
}

// ringOrder reads `rings`: a line, or a partial order.
func (b *builder) ringOrder(v *value) {
	if v == nil {
		return
	}
	var names []string
	var above [][]string
	at := map[string]diag.Pos{}
	add := func(n String, over []string) {
		names, above = append(names, n.Value), append(above, over)
		at[n.Value] = n.Pos
		b.sys.Rings = append(b.sys.Rings, Ring{Name: n})
	}
	b.sys.Rings = nil
	if v.shape.kind == table {
		for _, p := range v.pairs {
			var over []string
			for _, e := range p.value.list {
				over = append(over, e.text)
			}
			add(p.key, over)
		}
	} else {
		for _, n := range b.unique(v.texts(), "ring") {
			var over []string
			if len(names) > 0 {
				over = names[len(names)-1:]
			}
			add(n, append([]string{}, over...))
		}
	}
	if len(names) == 0 {
		b.out.Errorf(v.pos, "leave `rings` out for the usual four", "rings is empty")
		b.sys.Rings = defaultRings()
		return
	}
	order, err := ring.New(names, above)
	if err != nil {
		pos, fix := v.pos, ""
		if e, ok := errors.AsType[*ring.Error](err); ok && e.Ring != "" {
			pos, fix = at[e.Ring], diag.Suggest(e.Other, names)
		}
		b.out.Errorf(pos, fix, "rings: %v", err)
		b.sys.Rings = defaultRings()
		return
	}
	b.sys.Order = order
	for i := range b.sys.Rings {
		b.sys.Rings[i].Level = int32(order.Level(i))
	}
}

// texts are the texts of a list.
func (v *value) texts() []String {
	var out []String
	for _, e := range v.list {
		out = append(out, String{e.text, e.pos})
	}
	return out
}

// roles reads the roles at the top.
func (b *builder) roles(v *value) {
	if v == nil {
		return
	}
	for _, p := range v.pairs {
		r := Role{Name: p.key}
		for _, l := range []struct {
			key  string
			what string
			to   *[]String
		}{{"users", "user", &r.Users}, {"includes", "role", &r.Includes}, {"excludes", "role", &r.Excludes},
			{"excludes_acts", "role", &r.ExcludesActs}, {"may", "right", &r.May}} {
			*l.to = b.unique(p.value.strings(l.key), l.what)
		}
		b.sys.Roles = append(b.sys.Roles, r)
	}
}

// models reads what models need to know of a domain. Rings are known by now.
func (b *builder) models(d *Domain, v *value) {
	d.Owner = v.string("owner")
	d.Roles = b.unique(v.strings("roles"), "role")
	d.Bracket = b.bracket(v.get("bracket"))
	if l := v.get("label"); l != nil {
		d.Label = Label{Level: int32(l.number("level")), Integrity: int32(l.number("integrity")),
			Categories: b.unique(l.strings("categories"), "category"), Trusted: l.get("trusted") != nil && l.get("trusted").yes, Pos: l.pos}
	}
}

// rules reads what an export says for models.
func (b *builder) rules(x *Export, e *value) {
	x.Bracket, x.Trust, x.Flow = b.bracket(e.get("bracket")), e.string("trust"), e.string("flow")
	x.Entry = b.unique(e.strings("entry"), "method")
	x.HasEntry = e.has("entry")
	x.Data = b.knownRing(e.string("data"), "data")
	if m := e.get("methods"); m != nil {
		for _, p := range m.pairs {
			x.Methods = append(x.Methods, ExportMethod{Name: p.key, Bracket: b.bracket(p.value.get("bracket")),
				Trust: p.value.string("trust"), Flow: p.value.string("flow")})
		}
	}
}

// knownRing checks the name of a ring; "" if it is none.
func (b *builder) knownRing(s String, what string) String {
	if s.Value == "" {
		return String{}
	}
	if _, ok := b.sys.Ring(s.Value); !ok {
		b.out.Errorf(s.Pos, b.ringFix(s.Value), "%s: unknown ring %q", what, s.Value)
		return String{}
	}
	return s
}

func (b *builder) ringFix(written string) string {
	if fix := b.suggest(written, b.sys.ringNames()); fix != "" {
		return fix
	}
	return "the rings are " + strings.Join(b.sys.ringNames(), ", ")
}

// bracket reads a call bracket; nil if there is none.
func (b *builder) bracket(v *value) *Bracket {
	if v == nil {
		return nil
	}
	if !b.sys.Order.Linear() {
		b.out.Errorf(v.pos, "declare the rings as a list, or leave the bracket out: ward/ring-order and ward/rings-x86 need none",
			"a bracket counts rings, and these stand beside each other")
		return nil
	}
	if len(v.list) != 3 {
		b.out.Errorf(v.pos, "write [n1, n2, n3]", "a bracket has three rings, not %d", len(v.list))
		return nil
	}
	var n [3]int
	for i, e := range v.list {
		if e.shape.kind == integer {
			n[i] = int(e.num)
			continue
		}
		if n[i] = b.sys.Order.Find(e.text); n[i] < 0 {
			b.out.Errorf(e.pos, b.ringFix(e.text), "bracket: unknown ring %q", e.text)
			return nil
		}
	}
	res := &Bracket{ring.Bracket{N1: n[0], N2: n[1], N3: n[2]}, v.pos}
	if err := res.Check(len(b.sys.Rings)); err != nil {
		b.out.Errorf(v.pos, "n1 to n2 are the rings that call without a gate, n2+1 to n3 those that may only use entry points", "%v", err)
		return nil
	}
	return res
}

// Uses reports whether a model is turned on.
func (s *System) Uses(model string) (Use, bool) {
	for _, u := range s.Use {
		if u.Model.Value == model {
			return u, true
		}
	}
	return Use{}, false
}

// Level is the level of a ring as a constant of Cedar, for generated policies.
func (s *System) Level(name string) string {
	r, _ := s.Ring(name)
	return strconv.Itoa(int(r.Level))
}
