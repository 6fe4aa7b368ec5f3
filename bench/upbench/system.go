package upbench

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ward/bench/payload"
	"ward/compile"
	"ward/image"
)

const protoText = `syntax = "proto3";

package bench.up.v1;

import "buf/validate/validate.proto";

service Greeter {
  rpc Greet(GreetRequest) returns (GreetResponse);
}

message GreetRequest {
  string text = 1 [(buf.validate.field).string.max_bytes = 64];
}

message GreetResponse {
  string text = 1 [(buf.validate.field).string.max_bytes = 64];
}
`

const policyText = `@id("every domain may greet every server")
permit (
  principal is Domain,
  action == bench::up::v1::Action::"Greeter.Greet",
  resource is Domain
) when { context.text == "good morning" };
`

// makeSystem compiles a system whose domains all run program, in dir.
func makeSystem(dir, name, program string, o *Options) (*image.Image, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("the program of the domains: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s needs a dynamic linker, which domains do not have; build it with CGO_ENABLED=0", program)
		}
	}
	recorded, domains := "audit: all\n", ""
	if o.system != nil {
		recorded, domains = "", strings.ReplaceAll(o.system(program), "RUN/", filepath.Join(dir, "run")+"/")
	} else {
		client := ""
		if o.idle {
			client = filepath.Join(dir, "idle")
			code, err := payload.Idle()
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(client, code, 0o755); err != nil {
				return nil, err
			}
		}
		domains = clientsOf(program, client, o)
	}
	yaml := fmt.Sprintf("ward: 1\nname: %s\ninterfaces: [greeter.proto]\npolicy: [policy.cedar]\n%sdomains:\n%s", name, recorded, domains)
	for file, text := range map[string]string{"system.yaml": yaml, "greeter.proto": protoText + o.proto, "policy.cedar": policyText + o.policy} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	r, findings := compile.Dir(os.DirFS(dir))
	if r.Image == nil {
		return nil, fmt.Errorf("the system does not compile: %v", findings)
	}
	return r.Image, nil
}

// clientsOf describes a server and o.Domains-2 clients. idle is the program of
// clients that do nothing; empty: they call the server.
func clientsOf(program, idle string, o *Options) string {
	client := fmt.Sprintf("program: %q, args: [%s, client]", program, argument)
	if idle != "" {
		client = fmt.Sprintf("program: %q, grace: 1", idle) // it does not hear SIGTERM
	}
	var y strings.Builder
	fmt.Fprintf(&y, "  server: { program: %q, args: [%s, server], exports: [{interface: %s}], quota: {gates: %d} }\n", program, argument, iface, o.Domains+64)
	for i := range o.Domains - 2 {
		fmt.Fprintf(&y, "  client-%d: { %s }\n", i+1, client)
	}
	return y.String()
}
