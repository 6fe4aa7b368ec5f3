package upbench

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

const policyText = `@id("every domain may greet the server")
permit (
  principal is Domain,
  action == bench::up::v1::Action::"Greeter.Greet",
  resource == Domain::"server"
) when { context.text == "good morning" };
`

// makeSystem compiles a system of n domains, the name server counted, which
// all run program, in dir.
func makeSystem(dir, name, program string, n int) (*image.Image, error) {
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
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "ward: 1\nname: %s\ninterfaces: [greeter.proto]\npolicy: [policy.cedar]\naudit: all\ndomains:\n", name)
	fmt.Fprintf(&yaml, "  server: { program: %q, args: [%s, server], exports: [{interface: %s}] }\n", program, argument, iface)
	for i := range n - 2 {
		fmt.Fprintf(&yaml, "  client-%d: { program: %q, args: [%s, client] }\n", i+1, program, argument)
	}
	for file, text := range map[string]string{"system.yaml": yaml.String(), "greeter.proto": protoText, "policy.cedar": policyText} {
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
