package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/policy"
	"ward/policy/internal/cedar"
)

// A mistake is a policy that reads as if it stopped something and that Cedar
// lets pass, because it skips what errs and never asks whether a name exists.
type mistake struct {
	what   string
	rules  string   // beside a permit for all calls
	method string   // of lab.v1.Lab, from chief to server
	text   string   // of the message that should be stopped
	errs   bool     // Cedar meets an error, and goes on without the policy
	says   []string // what the compiler says
	warns  bool     // it is a warning: the policy may be meant
	fixed  string   // the rules as they were meant
}

var mistakes = []mistake{
	{what: "a mistyped domain in a forbid", rules: `forbid (principal == Domain::"cheif", action, resource);`, method: "Run",
		says: []string{`unknown domain "cheif"`, `did you mean "chief"`}, fixed: `forbid (principal == Domain::"chief", action, resource);`},
	{what: "a mistyped role in a forbid", rules: `forbid (principal in Role::"heed", action, resource);`, method: "Run",
		says: []string{`unknown role "heed"`, `did you mean "head"`}, fixed: `forbid (principal in Role::"head", action, resource);`},
	{what: "a mistyped action in a forbid", rules: `forbid (principal, action == lab::v1::Action::"Lab.Rum", resource);`, method: "Run",
		says: []string{`unknown action`, `did you mean "Lab.Run"`}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource);`},
	{what: "a mistyped domain in a condition", rules: `forbid (principal, action, resource) when { principal in [Domain::"cheif", Domain::"guest"] };`, method: "Run",
		says: []string{`unknown domain "cheif"`}, fixed: `forbid (principal in Domain::"chief", action, resource);`},
	{what: "a mistyped value of an enum", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.k == "GREN" };`, method: "Run", text: "k: GREEN",
		says: []string{`"GREN" is no value`, `did you mean "GREEN"`}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.k == "GREEN" };`},
	{what: "a value of an enum that is none among elements", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.kinds.values.contains("GREN") };`, method: "Run", text: "kinds: GREEN",
		says: []string{`"GREN" is no value`}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.kinds.values.contains("GREEN") };`},
	{what: "a forbid that overflows", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n + 1 > 100 };`, method: "Run", text: "n: 9223372036854775807", errs: true,
		says: []string{"arithmetic on a parameter, which the caller controls, could overflow"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n > 99 };`},
	{what: "a product that overflows", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n * context.m > 1000 };`, method: "Run", text: "n: 4611686018427387904 m: 4", errs: true,
		says: []string{"could overflow"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n > 31 || context.m > 31 };`},
	{what: "a negation that overflows", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { -context.n > 100 };`, method: "Run", text: "n: -9223372036854775808", errs: true,
		says: []string{"could overflow"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n < -100 };`},
	{what: "a parameter that is absent", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.b || context.maybe > 5 };`, method: "Run", text: "", errs: true,
		says: []string{`"maybe" is optional`, "context has maybe && "}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.b || (if context has maybe then context.maybe > 5 else true) };`},
	{what: "a parameter that only some methods have", rules: `forbid (principal, action in lab::v1::Action::"Lab", resource) when { context.n == 0 };`, method: "Watch", text: "", errs: true,
		says: []string{`only some in the scope of this policy have "n"`, "lab.v1.Item does not"}, fixed: `forbid (principal, action in lab::v1::Action::"Lab", resource) when { if context has n then context.n == 0 else true };`},
	{what: "a parameter that does not exist", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.nn == 0 };`, method: "Run", text: "", errs: true,
		says: []string{`unknown parameter "nn"`, `did you mean "n"`}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n == 0 };`},
	{what: "an attribute that does not exist", rules: `forbid (principal, action, resource) when { principal.rings.level > 1 };`, method: "Run", text: "", errs: true,
		says: []string{`unknown attribute "rings"`, `did you mean "ring"`}, fixed: `forbid (principal is Domain, action, resource) when { principal.ring.level > 1 };`},
	{what: "a guard that misses", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context has maybe && context.maybe > 5 };`, method: "Run", text: "", warns: true,
		says: []string{"this forbid does not match when context.maybe is absent", "if context has maybe then"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { if context has maybe then context.maybe > 5 else true };`},
	{what: "a string for a number", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n == "5" };`, method: "Run", text: "n: 5",
		says: []string{"type mismatch", "write 5 without quotes"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.n == 5 };`},
	{what: "an order of strings", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.s < "m" };`, method: "Run", text: `s: "a"`, errs: true,
		says: []string{"where a Long is expected"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { context.s like "a*" };`},
	{what: "an address that is none", rules: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { ip("10.0.0.256").isIpv4() || true };`, method: "Run", text: "", errs: true,
		says: []string{"this fails when it is evaluated"}, fixed: `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { ip("10.0.0.255").isIpv4() || true };`},
	{what: "a group of actions with ==", rules: `forbid (principal, action == lab::v1::Action::"Lab", resource);`, method: "Run", text: "",
		says: []string{"is a group of actions, which == never matches", "action in"}, fixed: `forbid (principal, action in lab::v1::Action::"Lab", resource);`},
	{what: "a domain where roles are meant", rules: `forbid (principal == Role::"head", action, resource);`, method: "Run", text: "",
		says: []string{"can never match"}, fixed: `forbid (principal in Role::"head", action, resource);`},
}

// TestCedarAloneIsWrong: for each mistake Cedar's authorizer allows what the
// policy was to stop, and the compiler finds it. What was meant compiles, and
// Cedar then denies.
func TestCedarAloneIsWrong(t *testing.T) {
	const permit = `@id("all") permit (principal, action in lab::v1::Action::"Lab", resource);` + "\n"
	for _, m := range mistakes {
		t.Run(m.what, func(t *testing.T) {
			sys, set := load(t, languageSystem, languageProto)
			desc := set.Services[slices.IndexFunc(set.Services, func(s protoreflect.ServiceDescriptor) bool { return s.FullName() == "lab.v1.Lab" })]
			method := desc.Methods().ByName(protoreflect.Name(m.method))
			msg := dynamicpb.NewMessage(method.Input())
			if err := prototext.Unmarshal([]byte(m.text), msg); err != nil {
				t.Fatal(err)
			}
			ctx := contextOf(msg)
			ctx["ward"] = cedar.NewRecord(map[cedar.String]cedar.Value{"gate": cedar.NewRecord(nil), "metadata": cedar.NewRecord(nil)})
			env := cedar.Env{Principal: cedar.NewUID("Domain", "chief"), Action: cedar.NewUID("lab::v1::Action", "Lab."+m.method),
				Resource: cedar.NewUID("Domain", "server"), Context: cedar.NewRecord(ctx), Entities: labEntities()}
			ask := func(rules string) (bool, []string) {
				policies := map[string]*cedar.Policy{}
				for id, text := range map[string]string{"all": permit, "rule": `@id("rule") ` + rules} {
					p, err := readOne(strings.TrimSpace(text))
					if err != nil {
						t.Fatal(err)
					}
					policies[id] = p
				}
				allow, _, errs := cedar.Authorize(policies, env)
				return allow, errs
			}
			compile := func(rules string) (bool, string) {
				img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: permit + `@id("rule") ` + rules}})
				return img != nil, l.Error()
			}
			if allow, errs := ask(m.rules); !allow || (len(errs) > 0) != m.errs {
				t.Errorf("Cedar alone: allowed %v with errors %v; the case shows nothing", allow, errs)
			}
			ok, said := compile(m.rules)
			if ok != m.warns {
				t.Errorf("compiles: %v", ok)
			}
			for _, s := range m.says {
				if !strings.Contains(said, s) {
					t.Errorf("does not say %q:\n%s", s, said)
				}
			}
			if ok, said := compile(m.fixed); !ok {
				t.Errorf("what was meant does not compile: %s", said)
			}
			if allow, errs := ask(m.fixed); allow || len(errs) > 0 {
				t.Errorf("what was meant: Cedar allows %v, errors %v", allow, errs)
			}
		})
	}
}

// labEntities are the entities of languageSystem.
func labEntities() cedar.Entities {
	es := cedar.Entities{}
	add := func(typ, id string, attrs map[cedar.String]cedar.Value, parents ...cedar.UID) {
		uid := cedar.NewUID(typ, id)
		es[uid] = cedar.NewEntity(uid, parents, attrs)
	}
	for i, d := range []string{"server", "chief", "guest"} {
		attrs := map[cedar.String]cedar.Value{"name": cedar.String(d), "ring": cedar.NewRecord(map[cedar.String]cedar.Value{"level": cedar.Long(i + 1)})}
		if d == "chief" {
			add("Domain", d, attrs, cedar.NewUID("Role", "head"), cedar.NewUID("Role", "staff"))
		} else {
			add("Domain", d, attrs)
		}
	}
	lab := cedar.NewUID("lab::v1::Action", "Lab")
	add("lab::v1::Action", "Lab", nil, cedar.NewUID("ward::Action", "call"))
	for _, m := range []string{"Run", "Watch"} {
		add("lab::v1::Action", fmt.Sprintf("Lab.%s", m), nil, lab)
	}
	return es
}
