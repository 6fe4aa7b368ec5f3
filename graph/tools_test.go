package graph_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ward/compile"
	"ward/graph"
	"ward/image"
)

// images are all examples, and what a hostile policy would have drawn.
func images(t *testing.T) map[string]*image.Image {
	t.Helper()
	all := map[string]*image.Image{"sample": sample("who may"), "hostile": sample(hostile), "objects": objects("who may"), "hostile objects": objects(hostile), "loans": loans("who may"), "hostile loans": loans(hostile)}
	for _, pattern := range []string{"../examples/*/system.yaml", "../examples/daemons/*/system.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal("no examples", err)
		}
		for _, name := range found {
			r, findings := compile.Dir(os.DirFS(filepath.Dir(name)))
			if r.Image == nil {
				t.Fatalf("%s: %v", name, findings)
			}
			all[filepath.Base(filepath.Dir(name))] = r.Image
		}
	}
	return all
}

// size is how many nodes and edges a graph has.
func size(g *graph.Graph) (nodes, edges int) {
	for i := range g.Rings {
		nodes += len(g.Rings[i].Domains)
	}
	if g.Users {
		nodes++
	}
	return nodes + len(g.Objects), len(g.Gates) + len(g.Loans) + len(g.Uses)
}

// Graphviz reads what is written without a warning, and draws as many nodes and
// edges as there are, whatever IDs and names say.
func TestGraphviz(t *testing.T) {
	dot, err := exec.LookPath("dot")
	if err != nil {
		t.Skip("needs Graphviz: no program dot")
	}
	// The control: labels whose quotes are not escaped.
	broken := exec.Command(dot, "-Tsvg")
	broken.Stdin = strings.NewReader(strings.ReplaceAll(graph.Of(sample(hostile), true).DOT(), `\"`, `"`))
	if err := broken.Run(); err == nil {
		t.Error("control: dot reads labels without escapes")
	}
	for name, img := range images(t) {
		t.Run(name, func(t *testing.T) {
			g := graph.Of(img, true)
			cmd := exec.Command(dot, "-Tsvg")
			cmd.Stdin = strings.NewReader(g.DOT())
			var out, warnings bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &warnings
			if err := cmd.Run(); err != nil || warnings.Len() > 0 {
				t.Fatalf("dot: %v: %s", err, warnings.Bytes())
			}
			counted := map[string]int{}
			for d := xml.NewDecoder(&out); ; {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("what dot drew: %v", err)
				}
				if e, is := token.(xml.StartElement); is && e.Name.Local == "g" {
					for _, a := range e.Attr {
						if a.Name.Local == "class" {
							counted[a.Value]++
						}
					}
				}
			}
			nodes, edges := size(g)
			if counted["node"] != nodes || counted["edge"] != edges || counted["cluster"] != len(g.Rings) {
				t.Errorf("drawn %v, want %d nodes, %d edges, %d clusters", counted, nodes, edges, len(g.Rings))
			}
		})
	}
}

// Mermaid's flowcharts, as far as they are used: a line is a node, an edge
// between nodes that stand before it, or the begin or the end of a subgraph
// (mermaid.js.org, "Flowcharts - Basic Syntax").
func TestMermaidSyntax(t *testing.T) {
	const label = `"[^"\n]+"`
	node := regexp.MustCompile(`^(users|d\d+|o\d+)(\(\[` + label + `\]\)|\[` + label + `\]|\[/` + label + `/\]|\[\(` + label + `\)\]|\[\[` + label + `\]\]|>` + label + `\])$`)
	edge := regexp.MustCompile(`^(users|d\d+) (?:-->|-\.->|==>|--o)\|` + label + `\| (users|d\d+|o\d+)$`)
	begin := regexp.MustCompile(`^subgraph r\d+\[` + label + `\]$`)
	check := func(text string, g *graph.Graph) string {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if lines[0] != "flowchart LR" {
			return "the first line is " + lines[0]
		}
		declared, depth, nodes, edges := map[string]bool{}, 0, 0, 0
		for _, line := range lines[1:] {
			line = strings.TrimLeft(line, "\t")
			switch m := edge.FindStringSubmatch(line); {
			case m != nil && declared[m[1]] && declared[m[2]]:
				edges++
			case node.MatchString(line):
				id := node.FindStringSubmatch(line)[1]
				if declared[id] {
					return "twice: " + line
				}
				declared[id] = true
				nodes++
			case begin.MatchString(line) && depth == 0:
				depth++
			case line == "end" && depth == 1:
				depth--
			default:
				return "no line of a flowchart: " + line
			}
		}
		if n, e := size(g); depth != 0 || nodes != n || edges != e {
			return "not as many nodes and edges as there are"
		}
		return ""
	}
	for name, img := range images(t) {
		g := graph.Of(img, true)
		if wrong := check(g.Mermaid(), g); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
		// The control: what a label that is not quoted would do.
		if broken := strings.Replace(g.Mermaid(), `["`, `[`, 1); check(broken, g) == "" {
			t.Errorf("%s: control: a bracket without its quote passes", name)
		}
	}
}
