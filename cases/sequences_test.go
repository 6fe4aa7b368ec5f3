package cases

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"ward/compile"
)

// happened makes a record of a message of an example, n ms after the first.
func happened(n int, event, from, to, method, verdict, policy string, params map[string]any, state map[string]string, changes uint16) Happened {
	h := Happened{Event: event, Kind: event, From: from, To: to, Method: method, Verdict: verdict, Policy: policy, Params: params, State: state, Changes: &changes,
		Time: time.Unix(1000, int64(n)*int64(time.Millisecond)).UTC().Format(time.RFC3339Nano)}
	if verdict == "deny" && policy == "" {
		h.Reason = "default deny"
	}
	return h
}

// pass runs a written file: all its cases pass.
func pass(t *testing.T, files fstest.MapFS, w Written) {
	t.Helper()
	for name := range files {
		if strings.HasSuffix(name, Suffix) {
			delete(files, name)
		}
	}
	files["recorded_test.yaml"] = &fstest.MapFile{Data: []byte(w.Text)}
	defer delete(files, "recorded_test.yaml")
	shown, report := judge(t, files)
	if report == nil || strings.Contains(shown, "FAIL") || len(report.Results) != w.Cases {
		t.Errorf("%d cases are written, and end so:\n%s\n%s", w.Cases, shown, w.Text)
	}
}

func TestSequencesFromAudit(t *testing.T) {
	files := directory(t, "../examples/secure-update")
	r, findings := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(findings)
	}
	image := func(v string) map[string]string { return map[string]string{"image": v} }
	put := func(n int, changes uint16) Happened {
		return happened(n, "call", "downloader", "storage", "update.v1.Storage/Put", "allow", "the downloader stores an image", nil, image("storing"), changes)
	}
	stored := func(n int, changes uint16) Happened {
		return happened(n, "reply", "storage", "downloader", "update.v1.Storage/Put", "allow", "the image is there", nil, image("received"), changes)
	}
	check := func(n int, changes uint16) Happened {
		return happened(n, "call", "downloader", "verifier", "update.v1.Verifier/Check", "allow", "what was received may be checked", nil, image("checking"), changes)
	}
	checked := func(n int, changes uint16) Happened {
		return happened(n, "reply", "verifier", "downloader", "update.v1.Verifier/Check", "allow", "the verifier finds it good", map[string]any{"good": true}, image("verified"), changes)
	}
	again := happened(9, "call", "downloader", "storage", "update.v1.Storage/Put", "deny", "", nil, image("checking"), 3)
	for _, c := range []struct {
		name    string
		records []Happened
		cases   int
		left    int
		want    []string
		not     []string
	}{
		{"in order", []Happened{put(1, 1), stored(2, 2), check(3, 3), again, checked(10, 4)}, 5, 0, []string{
			"- name: \"downloader calls update.v1.Storage/Put of storage: allowed\"\n  from:", // from the initial state: no steps
			"- name: \"downloader calls update.v1.Verifier/Check of verifier: allowed, at system.image=received\"\n  steps:\n  - from: \"downloader\"\n    call: \"update.v1.Storage/Put\"",
			"- name: \"verifier answers update.v1.Verifier/Check of downloader: allowed, at system.image=checking\"\n  steps:",
			"  state: {\"system.image\": \"checking\"}\n  deny: default", // what is denied says itself what it met
		}, []string{"cannot be tested"}},
		// Twice the same, and once more around: each is written once.
		{"around", []Happened{put(1, 1), stored(3, 2), check(4, 3), checked(5, 4), put(6, 5), stored(7, 6), check(8, 7), checked(9, 8), put(10, 9)}, 4 + 1, 0, []string{
			"allowed, at system.image=verified\"\n  steps:", "allowed, at system.image=received\"\n  steps:"}, []string{"(2)", "cannot be tested"}},
		// The steps before are not recorded: the state that the message met is.
		{"a gap before", []Happened{again, checked(10, 4)}, 2, 0, []string{
			"at system.image=checking\"\n  from: \"verifier\"", "args: {\"good\": true}\n  state: {\"system.image\": \"checking\"}\n  allow:"}, []string{"steps:"}},
		{"a gap", []Happened{put(1, 1), checked(10, 4)}, 1, 1, []string{"# the record before it is not there: that is the 4th change of its state; "}, []string{"steps:"}},
		// What came right after it was recorded before it.
		{"overtaken", []Happened{put(1, 1), check(2, 3), stored(3, 2), checked(4, 4)}, 4, 0, []string{
			"- name: \"downloader calls update.v1.Verifier/Check of verifier: allowed, at system.image=received\"\n  steps:",
			"- name: \"storage answers update.v1.Storage/Put of downloader: allowed, at system.image=storing\"\n  steps:"}, []string{"cannot be tested"}},
		{"without numbers", []Happened{{Event: "reply", Kind: "reply", From: "verifier", To: "downloader", Method: "update.v1.Verifier/Check", Verdict: "allow",
			Policy: "the verifier finds it good", Params: map[string]any{"good": true}, State: image("verified")}}, 0, 1, []string{"# the record does not count changes of state; "}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := FromAudit(r.Image, r.Set, c.records)
			if w.Cases != c.cases || w.Left != c.left {
				t.Errorf("%d cases, %d left out, want %d and %d", w.Cases, w.Left, c.cases, c.left)
			}
			for _, want := range c.want {
				if !strings.Contains(w.Text, want) {
					t.Errorf("want %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(w.Text, not) {
					t.Errorf("not wanted: %q", not)
				}
			}
			if t.Failed() {
				t.Log(w.Text)
			}
			if w.Cases > 0 {
				pass(t, files, w)
			}
			slices.Reverse(c.records)
			if again := FromAudit(r.Image, r.Set, c.records); again.Text != w.Text {
				t.Errorf("in another order it is\n%s\nwas\n%s", again.Text, w.Text)
			}
		})
	}
}

// Each gate has its own state: what happened on one is no step of another.
func TestSequencesOfGates(t *testing.T) {
	files := directory(t, "../examples/device-access")
	r, findings := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(findings)
	}
	session := func(v string) map[string]string { return map[string]string{"session": v} }
	login := func(n int, client string) Happened {
		return happened(n, "reply", "device", client, "device.v1.Device/Login", "allow", "a login is accepted", map[string]any{"accepted": true}, session("authenticated"), 1)
	}
	logout := func(n int, client string) Happened {
		return happened(n, "reply", "device", client, "device.v1.Device/Logout", "allow", "a logout ends the session", nil, session("anonymous"), 2)
	}
	w := FromAudit(r.Image, r.Set, []Happened{login(1, "client"), logout(2, "client"), logout(3, "thief")})
	// The thief's was at its first state, for all that is known of its gate.
	if w.Cases != 3 || w.Left != 0 || strings.Count(w.Text, "steps:") != 1 ||
		!strings.Contains(w.Text, "device answers device.v1.Device/Logout of client: allowed, at gate.session=authenticated\"\n  steps:") {
		t.Errorf("%d cases, %d left out:\n%s", w.Cases, w.Left, w.Text)
	}
	pass(t, files, w)
}
