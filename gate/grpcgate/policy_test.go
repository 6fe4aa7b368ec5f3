package grpcgate_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"ward/abi"
	"ward/compile"
	"ward/filter"
	"ward/gate"
	"ward/gate/gatetest/testv1"
	"ward/gate/grpcgate"
	"ward/image"
	"ward/kernel"
)

// tenants is a system whose policy decides on metadata, both ways.
var tenants = fstest.MapFS{
	"system.yaml": {Data: []byte(`ward: 1
name: t
interfaces: [test.proto]
policy: [policy.cedar]
metadata: { x-tenant: 64, x-test: 64, proof-bin: 8 }
domains:
  client: { program: /bin/client }
  server: { program: /bin/server, exports: [test.v1.Test] }
`)},
	"policy.cedar": {Data: []byte(`@id("the lab's own")
permit (principal == Domain::"client", action in [test::v1::Action::"Test.Unary", test::v1::Action::"Test.Download"], resource)
when { context.ward.metadata has "x-tenant" && context.ward.metadata["x-tenant"] == "lab" };

@id("no large proofs")
forbid (principal, action == test::v1::Action::"Test.Unary", resource)
when { context.ward.metadata has "proof-bin" && context.ward.metadata["proof-bin"].size > 2 };

@id("streams")
permit (principal == Domain::"client", action == test::v1::Action::"Test.Upload", resource);

@id("what leaks")
forbid (principal, action == test::v1::Action::"Test.Unary.reply", resource)
when { context.ward.metadata has "x-test" && context.ward.metadata["x-test"] like "*secret*" };
`)},
	"test.proto": {Data: []byte(`syntax = "proto3";
package test.v1;
service Test {
  rpc Unary(Item) returns (Item);
  rpc Upload(stream Item) returns (Item);
  rpc Download(Item) returns (stream Item);
  rpc Chat(stream Item) returns (stream Item);
}
message Item { int64 number = 1; string text = 2; }
`)},
}

// tenantEnds makes a gate of tenants: with the kernel's filter, or with the
// check of the receiver's library alone.
func tenantEnds(t *testing.T, library bool) (ends [2]gate.End) {
	t.Helper()
	res, findings := compile.Dir(tenants)
	if findings.Failed() {
		t.Fatal(findings)
	}
	img, route := res.Image, -1
	for i := range img.Routes {
		if img.Interfaces[img.Routes[i].Interface].Name == "test.v1.Test" {
			route = i
		}
	}
	r := &img.Routes[route]
	e := gate.End{Interface: "test.v1.Test"}
	spec, err := filter.Build(img, uint32(route), filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range img.Interfaces[r.Interface].Methods {
		e.Methods = append(e.Methods, abi.ControlMethod{Name: m.Name, ClientStream: m.ClientStream, ServerStream: m.ServerStream, Terse: spec.Programs[abi.Reply].Terse[i]})
	}
	for _, k := range img.Metadata {
		e.Metadata = append(e.Metadata, k.Key)
	}
	for _, p := range img.Policies {
		e.Policies = append(e.Policies, p.ID)
	}
	ends = [2]gate.End{e, e}
	sockets := classicEnds
	if !library {
		sockets = filteredEnds
	}
	for i, f := range sockets(t, img, uint32(route), spec, &ends) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		ends[i].Socket = fd
	}
	return ends
}

func filteredEnds(t *testing.T, img *image.Image, _ uint32, spec *filter.Spec, ends *[2]gate.End) [2]*os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	f, err := kernel.NewFabric(kernel.FabricConfig{Gates: 2, Programs: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var points [2]*kernel.Endpoint
	for i := range points {
		if points[i], err = f.AddEndpoint(abi.DomainID(i), 0, 4, 64<<10); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { points[i].Close() })
		ends[i].Page = int(points[i].Page().Fd())
	}
	route, err := f.Load(spec, points[0], points[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { route.Close() })
	g, err := f.Open(route)
	if err != nil {
		t.Fatal(err)
	}
	ends[0].Block, ends[1].Block = g.ClientBlock, g.ServerBlock
	return [2]*os.File{g.Client, g.Server}
}

func classicEnds(t *testing.T, img *image.Image, route uint32, _ *filter.Spec, ends *[2]gate.End) [2]*os.File {
	t.Helper()
	f := kernel.NewClassic(2, false)
	var points [2]*kernel.ClassicEndpoint
	var err error
	for i := range points {
		if points[i], err = f.AddEndpoint(abi.DomainID(i), 4); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { points[i].Close() })
		ends[i].Page = int(points[i].Page().Fd())
	}
	loaded, err := f.Load(img, route, points[0], points[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Close() })
	g, err := f.Open(loaded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	for i := range ends {
		if ends[i].Check, err = gate.NewCheck(int(g.Check().Fd())); err != nil {
			t.Fatal(err)
		}
	}
	ends[0].Block, ends[1].Block = g.ClientBlock, g.ServerBlock
	return [2]*os.File{g.Client, g.Server}
}

// TestPolicyOnMetadata: metadata of generated gRPC code is decided on, requests'
// and replies', by the kernel's filter and by the receiver's library alike.
func TestPolicyOnMetadata(t *testing.T) {
	for name, library := range map[string]bool{"filter": false, "library": true} {
		t.Run(name, func(t *testing.T) {
			ends := tenantEnds(t, library)
			s := grpcgate.NewServer()
			testv1.RegisterTestServer(s, &tenantService{})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- gate.ServeEnd(ctx, ends[1], s.Handler("test.v1.Test")) }()
			c, err := gate.NewClient(ends[0])
			if err != nil {
				t.Fatal(err)
			}
			conn := grpcgate.NewConn(c)
			defer func() {
				conn.Close()
				cancel()
				if err := <-done; err != nil && err != io.EOF {
					t.Error(err)
				}
			}()
			decidedOn(t, testv1.NewTestClient(conn), library)
		})
	}
}

// tenantService answers with the tenant that it was told, and with a header as asked.
type tenantService struct{ service }

func (tenantService) Unary(ctx context.Context, in *testv1.Item) (*testv1.Item, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	tenant := strings.Join(md.Get("x-tenant"), ",")
	if in.Text != "" {
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-test", in.Text)); err != nil {
			return nil, err
		}
	}
	return &testv1.Item{Text: tenant}, nil
}

// decidedOn calls with metadata of all kinds. A library that decides tells a
// client the code only, where not every reply may pass.
func decidedOn(t *testing.T, c testv1.TestClient, terse bool) {
	with := func(kv ...string) context.Context { return metadata.AppendToOutgoingContext(t.Context(), kv...) }
	for _, x := range []struct {
		what   string
		ctx    context.Context
		code   codes.Code
		policy string // that denies
		reason abi.Reason
	}{
		{"the tenant that is meant", with("x-tenant", "lab"), codes.OK, "", 0},
		{"no metadata", t.Context(), codes.PermissionDenied, "", abi.ReasonDefault},
		{"another tenant", with("x-tenant", "lab2"), codes.PermissionDenied, "", abi.ReasonDefault},
		{"another key", with("x-test", "lab"), codes.PermissionDenied, "", abi.ReasonDefault},
		{"the key in capitals, which gRPC does not tell apart", with("X-Tenant", "lab"), codes.OK, "", 0},
		{"a small proof", with("x-tenant", "lab", "proof-bin", "\xff\x00"), codes.OK, "", 0},
		{"a large proof", with("x-tenant", "lab", "proof-bin", "\xff\x00\xff"), codes.PermissionDenied, "no large proofs", abi.ReasonForbid},
		{"a text that is none", with("x-tenant", "lab\xff"), codes.InvalidArgument, "", abi.ReasonMetadata},
		{"another key that a condition looks at", with("x-tenant", "lab", "x-test", "\xff"), codes.InvalidArgument, "", abi.ReasonMetadata},
		{"a key that none looks at", with("x-tenant", "lab", "tracestate", "\xff"), codes.OK, "", 0},
	} {
		reply, err := c.Unary(x.ctx, &testv1.Item{})
		if status.Code(err) != x.code {
			t.Errorf("%s: %v", x.what, err)
			continue
		}
		var e *gate.Error
		switch {
		case err == nil && reply.Text != "lab":
			t.Errorf("%s: the server read %q", x.what, reply.Text)
		case err != nil && !terse && (!errors.As(err, &e) || e.Reason != x.reason || e.Policy != x.policy):
			t.Errorf("%s: %+v", x.what, e)
		}
	}
	// Replies.
	var header metadata.MD
	if _, err := c.Unary(with("x-tenant", "lab"), &testv1.Item{Text: "open"}, grpc.Header(&header)); err != nil || header.Get("x-test")[0] != "open" {
		t.Errorf("an open header: %v, %v", err, header)
	}
	header = nil
	if _, err := c.Unary(with("x-tenant", "lab"), &testv1.Item{Text: "a secret of ours"}, grpc.Header(&header)); err == nil || len(header.Get("x-test")) > 0 {
		t.Errorf("a header that leaks: %v, %v", err, header)
	}
	// The metadata of a server's stream comes with its request; that of a
	// client's with the call that opens it, which no policy decides.
	for tenant, ok := range map[string]bool{"lab": true, "lab2": false} {
		down, err := c.Download(with("x-tenant", tenant), &testv1.Item{Number: 1})
		if err == nil {
			_, err = down.Recv()
		}
		if (err == nil) != ok {
			t.Errorf("download for %s: %v", tenant, err)
		}
		up, err := c.Upload(with("x-tenant", tenant))
		if err == nil {
			err = up.Send(&testv1.Item{Number: 1})
		}
		if err == nil {
			_, err = up.CloseAndRecv()
		}
		if err != nil {
			t.Errorf("upload for %s: %v", tenant, err)
		}
	}
}
