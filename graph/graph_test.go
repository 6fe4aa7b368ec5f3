package graph_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ward/abi"
	"ward/compile"
	"ward/graph"
	"ward/image"
)

var update = flag.Bool("update", false, "write the golden files")

// hostile is what an ID must not do: leave its label in either format.
const hostile = "a\"];\nx -> y [label=\"\\\" | `b` <b>&lt;</b> #34; %%{init}%% -->|]) \u2028\u202e\x1b[2J"

// sample has one of everything: rings, users, gates with and without a
// condition, a forbid, files, addresses, and much that is denied.
func sample(id string) *image.Image {
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	when := image.Expr{Op: image.Less, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: 10}}}
	always := []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}
	reply := image.Decision{Permit: always}
	methods := []image.MethodPolicy{
		{Request: image.Decision{Permit: always}, Reply: reply},
		{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: when}}}, Reply: reply},
		{Request: image.Decision{Permit: always, Forbid: []image.Rule{{Policy: 1, When: when}}}},
		{Request: image.Decision{Permit: always, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}, Reply: reply},
		{},
	}
	only := append([]image.MethodPolicy{methods[0]}, make([]image.MethodPolicy, 4)...)
	user := image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.User}}}}
	return &image.Image{Name: id,
		Domains: []image.Domain{
			{Name: "client", Ring: image.Ring{Level: 3, Name: id}, Start: yes, Connect: []string{"tcp:*:443"},
				Files: []image.File{{Path: "/etc/a", Access: image.Read, Verdict: yes}, {Path: "/" + id, Access: image.Write, Verdict: yes}, {Path: "/etc/denied", Access: image.Read, Verdict: no}}},
			{Name: "server", Ring: image.Ring{Level: 1, Name: "service"}, Start: yes, Exports: []image.Export{{Publish: yes}},
				Files: []image.File{{Path: "/etc/a", Access: image.Read | image.Write, AsRoot: true, Verdict: yes}}, Listen: []image.Listen{{Name: "web", Address: "tcp:0.0.0.0:80"}}},
			{Name: "never", Ring: image.Ring{Level: 3, Name: "user"}, Start: no},
			{Name: "mute", Ring: image.Ring{Level: 3, Name: "user"}, Start: yes, Exports: []image.Export{{Publish: no}}},
		},
		Interfaces: []image.Interface{{Name: "t.v1.T", Methods: []image.Method{{Name: "Always"}, {Name: "Small"}, {Name: "Except"}, {Name: "Forbidden"}, {Name: "Nobody"}}}},
		Messages:   []image.Message{{Name: "t.v1.M"}},
		Policies:   []image.Policy{{ID: id, Source: "policy.cedar:3"}, {ID: strings.Repeat("long ", 20), Source: "policy.cedar:9", Forbid: true}},
		Routes: []image.Route{
			{Client: 0, Server: 1, Connect: yes, Methods: methods},
			{Client: 3, Server: 1, Connect: no, Methods: methods},  // connect denied
			{Client: 2, Server: 1, Connect: yes, Methods: methods}, // never starts
			{Client: 0, Server: 3, Connect: yes, Methods: methods}, // never publishes
			{Client: abi.NoDomain, Server: 1, ConnectUser: user, Methods: only},
		}}
}

func TestGolden(t *testing.T) {
	r, findings := compile.Dir(os.DirFS("../examples/picture"))
	if findings.Failed() {
		t.Fatal(findings)
	}
	for name, img := range map[string]*image.Image{"sample": sample("who may"), "hostile": sample(hostile), "picture": r.Image, "objects": objects("who may"), "loans": loans("who may"), "hostileloans": loans(hostile)} {
		g := graph.Of(img, name == "picture")
		for ext, text := range map[string]string{".dot": g.DOT(), ".mmd": g.Mermaid()} {
			path := filepath.Join("testdata", name+ext)
			if *update {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("%s differs; go test ./graph -update writes it:\n%s", path, text)
			}
		}
	}
}

// What is denied is not drawn: neither as a node nor on an edge.
func TestDeniedIsNotDrawn(t *testing.T) {
	g := graph.Of(sample("id"), false)
	for format, text := range map[string]string{"dot": g.DOT(), "mermaid": g.Mermaid()} {
		for _, word := range []string{"never", "Forbidden", "Nobody", "denied"} {
			if strings.Contains(text, word) {
				t.Errorf("%s draws %s:\n%s", format, word, text)
			}
		}
		for _, word := range []string{"client", "Always", "Small", "Except", "users outside"} { // the control
			if !strings.Contains(text, word) {
				t.Errorf("%s does not draw %s:\n%s", format, word, text)
			}
		}
	}
	for _, e := range g.Gates {
		for _, m := range e.Methods {
			if want := m.Name != "Always" || e.From == ""; e.Conditional != want {
				t.Errorf("%s from %q: conditional %v, want %v", m.Name, e.From, e.Conditional, want)
			}
		}
	}
}

// A hostile ID must change no more than the text of labels: with the labels
// cut out, the file is that of an honest ID.
func TestNothingLeavesItsLabel(t *testing.T) {
	dotLabel := regexp.MustCompile(`"(\\.|[^"\\\n])*"`)
	mermaidLabel := regexp.MustCompile(`"[^"\n]*"`)
	honest, evil := graph.Of(sample("id"), false), graph.Of(sample(hostile), false)
	for _, c := range []struct {
		honest, evil string
		label        *regexp.Regexp
	}{{honest.DOT(), evil.DOT(), dotLabel}, {honest.Mermaid(), evil.Mermaid(), mermaidLabel}} {
		if a, b := c.label.ReplaceAllString(c.honest, "L"), c.label.ReplaceAllString(c.evil, "L"); a != b {
			t.Errorf("outside its labels the graph is\n%s\nwith a hostile ID\n%s", a, b)
		}
		if strings.ContainsAny(c.evil, "\x1b\u2028\u202e") {
			t.Error("control characters in the output")
		}
	}
	for _, label := range mermaidLabel.FindAllString(evil.Mermaid(), -1) {
		if strings.ContainsAny(strings.ReplaceAll(label[1:len(label)-1], "<br/>", ""), "<>[]{}()|`%&\\") {
			t.Errorf("Mermaid label %s", label)
		}
	}
}
