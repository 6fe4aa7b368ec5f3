package compare

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/image"
)

const objectSystem = `ward: 1
name: studio
interfaces: [o.proto]
policy: [policy.cedar]
objects:
  frames: {kind: memory, size: 64KiB, count: 4}
  board: {kind: memory, size: 4KiB, shared: true}
  orders: {kind: mailbox, interface: o.v1.Orders}
domains:
  camera: {program: /bin/true}
  viewer: {program: /bin/true, exports: [o.v1.View]}
  clerk: {program: /bin/true}
`

const objectProto = `syntax = "proto3";
package o.v1;
import "ward/v1/handle.proto";
message Frame { ward.v1.Handle frame = 1; }
message Order { int32 count = 1; }
message None {}
service View { rpc Show(Frame) returns (None); }
service Orders { rpc Place(Order) returns (None); }
`

const objectPolicy = `@id("makes") permit (principal == Domain::"camera", action == ward::Action::"create", resource == Object::"frames");
@id("sees") permit (principal == Domain::"viewer", action == ward::Action::"open.read", resource == Object::"frames");
@id("draws") permit (principal == Domain::"viewer", action == ward::Action::"open.write", resource == Object::"board");
@id("reads") permit (principal == Domain::"clerk", action == ward::Action::"open.read", resource == Object::"orders");
@id("orders") permit (principal == Domain::"viewer", action == o::v1::Action::"Orders.Place", resource == Object::"orders") when { context.count < 5 };
@id("shows") permit (principal == Domain::"camera", action == o::v1::Action::"View.Show", resource == Domain::"viewer")
when { context has frame && !context.frame.write && context.frame.size <= 4096 };
`

// studio compiles the system; of each pair one text is replaced by another.
func studio(t *testing.T, replace ...string) *image.Image {
	t.Helper()
	text := func(s string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.NewReplacer(replace...).Replace(s))}
	}
	r, l := compile.Dir(fstest.MapFS{"system.yaml": text(objectSystem), "o.proto": text(objectProto), "policy.cedar": text(objectPolicy)})
	if r.Image == nil || l.Failed() {
		t.Fatal(l)
	}
	return r.Image
}

// Rights to objects that are new are new access, and so is more of what there
// may be of them; the way back is none. What a handle says is compared as any
// other parameter.
func TestObjects(t *testing.T) {
	const made = `@id("more") permit (principal == Domain::"clerk", action == ward::Action::"`
	more := func(action, object string) []string {
		return []string{objectPolicy, objectPolicy + made + action + `", resource == Object::"` + object + `");`}
	}
	for _, c := range []struct {
		name    string
		replace []string
		want    string // the changes, of which new access is marked with +
		back    string
	}{
		{"the same", []string{"@id(\"makes\")", "@id(\"makes them\")"}, "", ""},
		{"a maker more", more("create", "frames"), "+create clerk frames", "create clerk frames"},
		{"a reader more", more("open.read", "frames"), "+open.read clerk frames", "open.read clerk frames"},
		{"a writer who may not read", more("open.write", "frames"), "", ""},
		{"a reader who had the right to write", []string{objectPolicy, objectPolicy + `@id("more") permit (principal == Domain::"viewer", action == ward::Action::"open.read", resource == Object::"board");`},
			"+open.read viewer board; +open.write viewer board", "open.read viewer board; open.write viewer board"},
		{"another reader of the mailbox", []string{`principal == Domain::"clerk"`, `principal == Domain::"camera"`}, "+open.read camera orders; open.read clerk orders", "open.read camera orders; +open.read clerk orders"},
		{"another writer to it", []string{`principal == Domain::"viewer", action == o::v1`, `principal == Domain::"camera", action == o::v1`},
			"+connect camera orders; +call camera orders map[count:-2147483648]; connect viewer orders; call viewer orders map[count:-2147483648]",
			"connect camera orders; call camera orders map[count:-2147483648]; +connect viewer orders; +call viewer orders map[count:-2147483648]"},
		{"more to it", []string{"context.count < 5", "context.count < 6"}, "+call viewer orders map[count:5]", "call viewer orders map[count:5]"},
		{"a larger handle", []string{"<= 4096", "<= 8192"}, "+call camera viewer map[frame:map[size:4097 write:false]]", "call camera viewer map[frame:map[size:4097 write:false]]"},
		{"a handle to write", []string{"!context.frame.write && ", ""}, "+call camera viewer map[frame:map[size:0 write:true]]", "call camera viewer map[frame:map[size:0 write:true]]"},
		{"larger memory", []string{"size: 64KiB", "size: 128KiB"}, "+bounds object frames: an instance has at most 65536 → 131072 bytes", "bounds object frames: an instance has at most 131072 → 65536 bytes"},
		{"more of it", []string{"count: 4", "count: 5"}, "+bounds object frames: at most 4 → 5 instances", "bounds object frames: at most 5 → 4 instances"},
		{"no more by name", []string{"board: {kind: memory, size: 4KiB, shared: true}", "board: {kind: memory, size: 4KiB}"},
			"+setting object board: shared memory, which is opened by name → memory, which comes in handles", "+setting object board: memory, which comes in handles → shared memory, which is opened by name"},
		{"an object less", []string{"  frames: {kind: memory, size: 64KiB, count: 4}\n", "", objectPolicy, objectPolicy[strings.Index(objectPolicy, `@id("draws")`):]},
			"create camera frames; open.read viewer frames", "+create camera frames; +open.read viewer frames"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := studio(t), studio(t, c.replace...)
			for _, x := range []struct {
				old, new *image.Image
				want     string
			}{{before, after, c.want}, {after, before, c.back}} {
				var got []string
				r := Images(x.old, x.new)
				for _, y := range r.Changes {
					line := y.Event
					for _, s := range []string{y.From, y.To, y.Object} {
						if s != "" {
							line += " " + s
						}
					}
					if y.Args != nil {
						line += " " + fmt.Sprint(y.Args)
					}
					if y.Detail != "" {
						line += ": " + y.Detail
					}
					if y.NewAccess {
						line = "+" + line
					}
					got = append(got, line)
				}
				slices.SortFunc(got, func(a, b string) int { return strings.Compare(strings.TrimPrefix(a, "+"), strings.TrimPrefix(b, "+")) })
				want := strings.Split(x.want, "; ")
				slices.SortFunc(want, func(a, b string) int { return strings.Compare(strings.TrimPrefix(a, "+"), strings.TrimPrefix(b, "+")) })
				if strings.Join(got, "; ") != strings.Join(want, "; ") {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				if got, want := r.NewAccess() > 0, strings.Contains(x.want, "+"); got != want {
					t.Errorf("new access: %v, want %v", got, want)
				}
			}
		})
	}
}
