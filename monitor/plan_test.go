package monitor

import (
	"slices"
	"testing"

	"ward/abi"
	"ward/image"
)

// changed is the test image after a change, with the numbers of the first.
func changed(t *testing.T, change func(*image.Image)) *image.Image {
	t.Helper()
	img := testImage()
	change(img)
	if err := img.Check(); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPlanOfRoutes(t *testing.T) {
	const pair, users = 0, 2 // routes: client to server, users to server
	loaded := []loadedRoute{{pair, NoAtoms}, {users, Atoms{User: 0}}}
	for _, test := range []struct {
		what   string
		change func(*image.Image)
		want   []fate
	}{
		{"nothing", func(*image.Image) {}, nil},
		{"the place of a policy in its file", func(i *image.Image) { i.Policies[0].Source = "elsewhere:9" }, nil},
		{"a condition", func(i *image.Image) {
			i.Routes[pair].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.False}}}}}}
		}, []fate{{at: 0, loadedRoute: loaded[0], policy: abi.NoPolicy}}},
		{"a bound", func(i *image.Image) {
			i.Messages[0].Fields = []image.Field{{Number: 1, Name: "a", Type: image.Int32}}
		}, []fate{{at: 0, loadedRoute: loaded[0], dies: true, reason: abi.ReasonNotRunning, policy: abi.NoPolicy},
			{at: 1, loadedRoute: loaded[1], dies: true, reason: abi.ReasonNotRunning, policy: abi.NoPolicy}}}, // a field more is another shape
		{"connect, by a forbid", func(i *image.Image) { i.Routes[pair].Connect = image.Verdict{Policy: 1} },
			[]fate{{at: 0, loadedRoute: loaded[0], dies: true, reason: abi.ReasonForbid, policy: 1}}},
		{"connect, by default", func(i *image.Image) { i.Routes[pair].Connect = image.Verdict{Policy: abi.NoPolicy} },
			[]fate{{at: 0, loadedRoute: loaded[0], dies: true, reason: abi.ReasonDefault, policy: abi.NoPolicy}}},
		{"which user may connect", func(i *image.Image) {
			i.Users = append(i.Users, "1001")
			i.Routes[users].ConnectUser.Permit = []image.Rule{{Policy: 0, When: image.Expr{Op: image.User, Atom: 1}}}
		}, []fate{{at: 1, loadedRoute: loaded[1], dies: true, reason: abi.ReasonDefault, policy: abi.NoPolicy}}},
		{"the name of a method", func(i *image.Image) { i.Interfaces[0].Methods = []image.Method{{Name: "Tell"}} },
			[]fate{{at: 0, loadedRoute: loaded[0], dies: true, reason: abi.ReasonNotRunning, policy: abi.NoPolicy},
				{at: 1, loadedRoute: loaded[1], dies: true, reason: abi.ReasonNotRunning, policy: abi.NoPolicy}}},
		{"metadata", func(i *image.Image) { i.Metadata = []image.Metadata{{Key: "trace", Max: 9}} },
			[]fate{{at: 0, loadedRoute: loaded[0], dies: true, reason: abi.ReasonNotRunning, policy: abi.NoPolicy},
				{at: 1, loadedRoute: loaded[1], dies: true, reason: abi.ReasonNotRunning, policy: abi.NoPolicy}}},
	} {
		p := makePlan(testImage(), changed(t, test.change), loaded, make([]bool, 3))
		same := slices.EqualFunc(p.routes, test.want, func(a, b fate) bool {
			return a.at == b.at && a.route == b.route && a.dies == b.dies && a.reason == b.reason && a.policy == b.policy
		})
		if !same {
			t.Errorf("%s: %+v, want %+v", test.what, p.routes, test.want)
		}
	}
}

// Bounds alone change the filters of open gates and not the gates.
func TestPlanOfBounds(t *testing.T) {
	field := func(limit uint32) func(*image.Image) {
		return func(i *image.Image) {
			i.Messages[0].Fields = []image.Field{{Number: 1, Name: "a", Type: image.String, MaxLen: limit}}
		}
	}
	p := makePlan(changed(t, field(8)), changed(t, field(9)), []loadedRoute{{0, NoAtoms}}, make([]bool, 3))
	if len(p.routes) != 1 || p.routes[0].dies {
		t.Errorf("%+v", p.routes)
	}
}

func TestPlanOfDomains(t *testing.T) {
	running := []bool{true, true, false} // second has ended
	deny := image.Verdict{Policy: abi.NoPolicy}
	for _, test := range []struct {
		what                 string
		before, after        func(*image.Image)
		start, stop, restart []abi.DomainID
	}{
		{"nothing", nil, nil, nil, nil, nil},
		{"a domain that ended is as it was", nil, func(i *image.Image) { i.Domains[second].Args = []string{"x"} }, nil, nil, nil},
		{"other arguments", nil, func(i *image.Image) { i.Domains[client].Args = []string{"x"} }, nil, nil, []abi.DomainID{client}},
		{"another program", nil, func(i *image.Image) { i.Domains[server].Program = "/bin/x" }, nil, nil, []abi.DomainID{server}},
		{"a file", nil, func(i *image.Image) {
			i.Domains[client].Files = []image.File{{Path: "/etc/x", Access: image.Read, Verdict: image.Verdict{Allow: true}}}
		}, nil, nil, []abi.DomainID{client}},
		{"a file that is not granted", nil, func(i *image.Image) {
			i.Domains[client].Files = []image.File{{Path: "/etc/x", Access: image.Read, Verdict: deny}}
		}, nil, nil, nil},
		{"a socket of an export, and what it needs", nil, func(i *image.Image) {
			i.Domains[server].Exports[0].Socket = "/run/x"
			i.Domains[server].Needs = []string{"second"}
		}, nil, nil, nil},
		{"one that may not start any more", nil, func(i *image.Image) { i.Domains[client].Start = deny }, nil, []abi.DomainID{client}, nil},
		{"one that might not", func(i *image.Image) { i.Domains[second].Start = deny }, nil, []abi.DomainID{second}, nil, nil},
		{"one more", nil, func(i *image.Image) {
			d := i.Domains[client]
			d.Name = "third"
			i.Domains = append(i.Domains, d)
		}, []abi.DomainID{3}, nil, nil},
	} {
		make2 := func(f func(*image.Image)) *image.Image {
			if f == nil {
				f = func(*image.Image) {}
			}
			return changed(t, f)
		}
		p := makePlan(make2(test.before), make2(test.after), nil, running)
		var restart []abi.DomainID
		for _, r := range p.restart {
			restart = append(restart, r.domain)
		}
		if !slices.Equal(p.start, test.start) || !slices.Equal(p.stop, test.stop) || !slices.Equal(restart, test.restart) {
			t.Errorf("%s: start %v, stop %v, restart %v; want %v, %v, %v", test.what, p.start, p.stop, restart, test.start, test.stop, test.restart)
		}
	}
}

// A message that looks like a handle, and becomes one by a change, is another: the
// programs of open gates do not look up what it claims.
func TestPlanOfHandles(t *testing.T) {
	named := func(name string) *image.Image {
		return &image.Image{Messages: []image.Message{{Name: name, Fields: []image.Field{{Number: image.HandleID, Name: "id", Type: image.Uint64}}}}}
	}
	for _, c := range []struct {
		before, after string
		same          bool
	}{
		{"t.Ticket", image.HandleName, false},
		{image.HandleName, "t.Ticket", false},
		{image.HandleName, image.HandleName, true},
		{"t.Ticket", "t.Voucher", true},
	} {
		for name, same := range map[string]func(a, b *image.Field) bool{"type": sameType, "bounds": sameBounds} {
			if got := sameMessage(named(c.before), named(c.after), 0, 0, same); got != c.same {
				t.Errorf("%s and %s by %s: %v", c.before, c.after, name, got)
			}
		}
	}
}
