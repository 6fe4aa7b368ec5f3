package monitor

import (
	"os"
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
)

// TestAttackShareByChildren: a domain has children, and those have some, and each
// opens as many gates to a server as it can. All together get no more than one
// client's share. The control: another domain gets a whole share beside them.
func TestAttackShareByChildren(t *testing.T) {
	const share = 6
	f := startFamily(t, 0, func(i *image.Image) {
		r := i.Routes[0]
		r.Client = second
		i.Routes = append(i.Routes, r)
		i.Domains[server].Quota.Gates = 3 * share // the clients are client, second and users
	})
	gates := func(d *fakeDomain, first uint32, most int) (n int) {
		t.Helper()
		for ; n < most; n++ {
			got, files := d.ask(open(first+uint32(n), "t.Echo"))
			if got.Op == abi.OpGate {
				closeAll(files)
				continue
			}
			if got.Reason != abi.ReasonQuota || !strings.Contains(got.Text, "whole share") {
				t.Fatalf("refused for another reason: %+v", got)
			}
			break
		}
		return n
	}
	if n := gates(f.child, 10, 3) + gates(f.lowest, 10, 2) + gates(f.parent, 10, share) + gates(f.lowest, 20, 1) + gates(f.child, 20, 1); n != share {
		t.Errorf("a domain and what comes from it have %d gates to a server, of which one client has %d", n, share)
	}
	if n := gates(f.domain(second), 10, share+1); n != share {
		t.Errorf("control: another domain has %d", n)
	}
	if got := f.m.domains[server].share; got != share {
		t.Errorf("a share is %d", got)
	}
}

// TestAttackGatesByChildren: a domain of which no quota is stated has children, and
// those have some, and each opens as many gates as it can. All together have what it alone would have.
// The control is that it alone has as many.
func TestAttackGatesByChildren(t *testing.T) {
	f := startFamily(t, 0, func(i *image.Image) {
		i.Domains[server].Quota.Gates = image.MaxGates
	})
	count := func(of ...*fakeDomain) (n int) {
		t.Helper()
		for _, d := range of {
			for seq := uint32(100); ; seq++ {
				got, files := d.ask(open(seq, "t.Echo"))
				closeAll(files)
				if got.Op != abi.OpGate {
					if got.Reason != abi.ReasonQuota || !strings.Contains(got.Text, "its quota allows") {
						t.Fatalf("refused for another reason: %+v", got)
					}
					break
				}
				n++
			}
		}
		return n
	}
	if n := count(f.lowest, f.child, f.parent); n != image.DefaultGates {
		t.Errorf("it and what comes from it have %d gates, want %d", n, image.DefaultGates)
	}
	alone := startSystem(t, nil)
	alone.domain(server).ask(serve(1, "t.Echo"))
	if n := count(alone.domain(client)); n != image.DefaultGates {
		t.Errorf("control: alone it has %d", n)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
