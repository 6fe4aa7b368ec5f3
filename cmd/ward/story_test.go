package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ward/audit"
)

// A domain may ask for an interface of any name. The story shows it without
// letting it move the cursor, end the line, or hide what stands before it.
func TestStoryHasNoControlSequences(t *testing.T) {
	for _, evil := range []string{"\x1b[2K\rno denial", "two\nlines", "c1\u009b2J", "bidi\u202e", "bad\xff"} {
		var out bytes.Buffer
		tell := newTeller(&out, false)
		tell.tell(&audit.Record{Event: audit.EventGate, Time: time.Now(), From: "client", Interface: evil, Verdict: audit.Deny, Reason: evil, Detail: evil,
			Params: map[string]any{"p": evil}})
		line, rest, _ := strings.Cut(out.String(), "\n")
		if rest != "" || strings.ContainsAny(line, "\x1b\r\u009b\u202e") || !utf8.ValidString(line) {
			t.Errorf("%q is told as %q", evil, out.String())
		}
		if !strings.Contains(line, "DENIED") {
			t.Errorf("%q: the verdict is not in %q", evil, line)
		}
		out.Reset()
		tell.tell(&audit.Record{Event: audit.EventObject, Time: time.Now(), Domain: "client", Object: evil, Kind: "make", Verdict: audit.Deny, Reason: "default deny"})
		if line, rest, _ := strings.Cut(out.String(), "\n"); rest != "" || strings.ContainsAny(line, "\x1b\r\u009b\u202e") || !strings.Contains(line, "DENIED") {
			t.Errorf("an object %q is told as %q", evil, out.String())
		}
	}
	if s := printable("größe/ü 1"); s != "größe/ü 1" {
		t.Errorf("a harmless name became %q", s)
	}
}

func TestStoryOfObjects(t *testing.T) {
	for want, r := range map[string]audit.Record{
		`object     camera  make frames  allowed by "makes" (4096 bytes)`:             {Domain: "camera", Object: "frames", Kind: "make", Access: "create", Verdict: audit.Allow, Policy: "makes", Detail: "4096 bytes"},
		`object     camera → viewer  offer frames, to write  DENIED by "never"`:       {From: "camera", To: "viewer", Object: "frames", Kind: "offer", Access: "open.write", Verdict: audit.Deny, Policy: "never"},
		`object     intruder  redeem by handle  DENIED no such handle (it came here)`: {Domain: "intruder", Kind: "redeem", Verdict: audit.Deny, Reason: "no such handle", Detail: "it came here"},
		`call       a → b  p.v1.S/M {memory.size=1048576 share=0.5}  allowed`:         {Event: audit.EventCall, From: "a", To: "b", Method: "p.v1.S/M", Verdict: audit.Allow, Params: map[string]any{"memory.size": 1048576.0, "share": 0.5}},
	} {
		var out bytes.Buffer
		if r.Event == "" {
			r.Event = audit.EventObject
		}
		newTeller(&out, false).tell(&r)
		if _, line, _ := strings.Cut(strings.TrimSpace(out.String()), "  "); line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
}

func TestLogOnATerminal(t *testing.T) {
	var out bytes.Buffer
	in := "grün\tok\n\x1b[2J\u009bx\x7f\r\n"
	if n, err := (plainWriter{&out}).Write([]byte(in)); n != len(in) || err != nil {
		t.Fatal(n, err)
	}
	if want := "grün\tok\n" + `\x1b[2J\x9bx\x7f\x0d` + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestSum(t *testing.T) {
	for _, c := range []struct {
		tally tally
		want  string
	}{
		{tally{allowed: 1, denied: 1, opened: 1, lost: 1}, "1 message allowed, 1 denied; 1 gate opened, 0 refused; 1 record lost"},
		{tally{allowed: 2, opened: 2, refused: 1, lost: 3}, "2 messages allowed, 0 denied; 2 gates opened, 1 refused; 3 records lost"},
		{tally{allowed: 1, addresses: 2}, "1 message allowed, 0 denied; 0 gates opened, 0 refused; 2 times an address refused"},
		{tally{denied: 1}, `1 message denied (allowed ones are recorded with "audit: all"); 0 gates opened, 0 refused`},
	} {
		if got := c.tally.sum(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestParamsOfARecord(t *testing.T) {
	var r audit.Record
	if err := json.Unmarshal([]byte(`{"params":{"tags":{"count":1},"data":{"size":3},"name":"a b","n":4,"sub":true}}`), &r); err != nil {
		t.Fatal(err)
	}
	if got, want := newTeller(&bytes.Buffer{}, false).params(r.Params), ` {data.size=3 n=4 name="a b" sub=true tags.count=1}`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
