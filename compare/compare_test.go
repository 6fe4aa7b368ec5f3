package compare_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ward/compare"
	"ward/compile"
	"ward/image"
)

// base is a system of which each case below changes a few words.
var base = map[string]string{
	"system.yaml": `ward: 1
name: sys
interfaces: [t.proto]
policy: [p.cedar]
domains:
  server: {program: /bin/true, exports: [{interface: t.v1.T, socket: /run/t.sock}], files: {/var/lib/t: rw, /var/lib/t/ro: r}}
  client: {program: /bin/true}
`,
	"t.proto": `syntax = "proto3";
package t.v1;
import "buf/validate/validate.proto";
service T { rpc Do(M) returns (R); rpc Other(M) returns (R); }
message M {
  string site = 1 [(buf.validate.field).string = {in: ["www", "api"]}];
  int32 size = 2 [(buf.validate.field).int32 = {gte: 0, lte: 100}];
  bytes key = 3 [(buf.validate.field).bytes = {min_len: 1, max_len: 64}];
}
message R { int32 code = 1; }
`,
	"p.cedar": `@id("small")
permit (principal == Domain::"client", action == t::v1::Action::"T.Do", resource == Domain::"server") when { context.size < 10 };
@id("users")
permit (principal == User::"alice", action == t::v1::Action::"T.Do", resource == Domain::"server");
@id("no secrets")
forbid (principal, action == t::v1::Action::"T.Do.reply", resource) when { context.code == 7 };
`}

// with is base with replacements.
func with(t *testing.T, replace ...string) *image.Image {
	t.Helper()
	files := fstest.MapFS{}
	for name, text := range base {
		files[name] = &fstest.MapFile{Data: []byte(strings.NewReplacer(replace...).Replace(text))}
	}
	r, findings := compile.Dir(files)
	if findings.Failed() {
		t.Fatal(findings)
	}
	return r.Image
}

func line(x compare.Change) string {
	return fmt.Sprintf("%s %s %s>%s %s%s%s", x.Event, x.Change, x.From, x.To, x.Interface, x.Method, x.Object)
}

// Each case widens the system; the report has to say so. The way back is
// narrower, and must not count as new access.
func TestWidened(t *testing.T) {
	for name, c := range map[string]struct {
		replace []string
		want    string
		args    string
	}{
		"condition":       {[]string{"context.size < 10", "context.size < 11"}, "call allow client>server t.v1.T/Do", "map[size:10]"},
		"method":          {[]string{`action == t::v1::Action::"T.Do", resource == Domain::"server") when`, `action in t::v1::Action::"T", resource == Domain::"server") when`}, "call allow client>server t.v1.T/Other", "map[size:0]"},
		"user":            {[]string{`principal == User::"alice"`, "principal is User"}, "call allow user:*>server t.v1.T/Do", "map[]"},
		"user connects":   {[]string{`principal == User::"alice"`, "principal is User"}, "connect allow user:*>server t.v1.T", "map[]"},
		"reply":           {[]string{"context.code == 7", "context.code == 7 && context.code == 8"}, "reply allow server>client t.v1.T/Do", "map[code:7]"},
		"file":            {[]string{"{/var/lib/t: rw,", "{/etc/x: r, /var/lib/t: rw,"}, "file allow server> /etc/x", "map[]"},
		"directory above": {[]string{", /var/lib/t/ro: r", ""}, "file allow server> /var/lib/t/ro", "map[]"},
		"write":           {[]string{"/var/lib/t/ro: r}", "/var/lib/t/ro: rw}"}, "file allow server> /var/lib/t/ro", "map[]"},
		"as root":         {[]string{"/var/lib/t: rw", "/var/lib/t: {mode: rw, as: root}"}, "file allow server> /var/lib/t", "map[]"},
		"host":            {[]string{"client: {program: /bin/true", "client: {program: /bin/true, root: host"}, "setting changed client> root: host", "map[]"},
		"range":           {[]string{"lte: 100", "lte: 101"}, "bounds changed > t.v1.T/Dot.v1.M.size", "map[]"},
		"length":          {[]string{"max_len: 64", "max_len: 65"}, "bounds changed > t.v1.T/Dot.v1.M.key", "map[]"},
		"shorter":         {[]string{"min_len: 1,", "min_len: 0,"}, "bounds changed > t.v1.T/Dot.v1.M.key", "map[]"},
		"set":             {[]string{`"www", "api"`, `"www", "api", "db"`}, "bounds changed > t.v1.T/Dot.v1.M.site", "map[]"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := with(t), with(t, c.replace...)
			r := compare.Images(before, after)
			at := slices.IndexFunc(r.Changes, func(x compare.Change) bool { return x.NewAccess && line(x) == c.want })
			if at < 0 {
				t.Fatalf("not reported: %s; reported: %+v", c.want, r.Changes)
			}
			if got := fmt.Sprint(r.Changes[at].Args); got != c.args {
				t.Errorf("example %s, want %s", got, c.args)
			}
			if back := compare.Images(after, before); back.NewAccess() != 0 || len(back.Changes) == 0 {
				t.Errorf("the way back: %+v", back.Changes)
			}
		})
	}
}

// What is the same must not be reported, however it is written.
func TestSame(t *testing.T) {
	for name, replace := range map[string][]string{
		"nothing":     nil,
		"id":          {`"small"`, `"little"`},
		"comparison":  {"context.size < 10", "context.size <= 9"},
		"within":      {"context.size < 10", "context.size < 10 && context.size >= 0"},
		"cases":       {"context.size < 10", `context.size < 5 && context.site == "www" || context.size < 5 && context.site == "api" || context.size >= 5 && context.size < 10`},
		"dead forbid": {"context.code == 7", "context.code == 7 || context.code == 7 && context.code > 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := compare.Images(with(t), with(t, replace...)); len(r.Changes) != 0 {
				t.Errorf("%+v", r.Changes)
			}
		})
	}
}

// A whole system against nothing: all that is permitted is new.
func TestFromNothing(t *testing.T) {
	r, findings := compile.Dir(os.DirFS("../examples/picture"))
	if findings.Failed() {
		t.Fatal(findings)
	}
	report := compare.Images(&image.Image{Name: "picture"}, r.Image)
	for i := range report.Changes {
		if x := report.Changes[i]; x.Change != compare.Allowed && x.Event != "setting" && !strings.HasPrefix(x.Object, "metadata ") {
			t.Errorf("%+v", x)
		}
	}
	for _, want := range []string{"start allow >valid-client ", "publish allow picture-manager> picture.v1.Pictures",
		"connect allow invalid-client>picture-manager picture.v1.Status", "call allow valid-client>picture-manager picture.v1.Pictures/Get"} {
		if !slices.ContainsFunc(report.Changes, func(x compare.Change) bool { return line(x) == want }) {
			t.Errorf("not reported: %q", want)
		}
	}
	if same := compare.Images(r.Image, r.Image); len(same.Changes) != 0 || same.Equal == 0 {
		t.Errorf("against itself: %+v", same)
	}
}
